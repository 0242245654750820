"""What the commands use to speak to the peer of a home, started for them when none runs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import httpx

from paris_p2p.api.events import SESSION_OPEN, Event, decode_events
from paris_p2p.errors import (
    HomeBusy,
    ParisError,
    Unreachable,
    UsageProblem,
    error_from,
    error_with_code,
)
from paris_p2p.home import Home

POLL = 0.1
BUSY_PATIENCE = 30.0
"""Seconds to wait for another process that is starting or leaving on the same home."""


@dataclass(frozen=True)
class Client:
    """A peer's local API. Calls raise the error that the peer met."""

    url: str
    token: str

    def get(self, path: str) -> dict[str, Any]:
        return self._answer("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._answer("POST", path, body)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """While it lasts, a peer that was started for a command does not leave.

        Raises Unreachable when the peer is leaving already.
        """
        with self._http() as http, contextlib.ExitStack() as stack:
            with _translated():
                response = stack.enter_context(http.stream("GET", "/v1/session"))
                lines = response.iter_lines()  # lives as long as the block: its end closes
                opened = next(lines, "") == SESSION_OPEN
            if not opened:
                raise Unreachable("the peer of this home is leaving", "Run the command again")
            yield

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Event]:
        """The events of a long request, as they come."""
        with (
            _translated(),
            self._http() as http,
            http.stream("POST", path, json=dict(body)) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise _failure(response)
            yield from decode_events(response.iter_lines())

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        with _translated(), self._http() as http:
            response = http.request(method, path, json=body)
        if response.status_code != 200:
            raise _failure(response)
        answer: dict[str, Any] = response.json()
        return answer

    def _http(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token}"}
        timeout = httpx.Timeout(60, read=None)
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False)


def running_client(home: Home) -> Client | None:
    """The client of the peer that runs on this home, or None."""
    try:
        card = json.loads(home.api_file.read_bytes())
        client = Client(card["url"], card["token"])
        client.get("/v1/ping")
    except (OSError, ValueError, KeyError, ParisError):
        return None
    return client


@contextlib.contextmanager
def connected(home: Home, bootstrap: Sequence[str], run: str | None) -> Iterator[Client]:
    """A client of this home's peer; one is started for the block when none runs.

    Parameters
    ----------
    bootstrap : addresses that the peer joins through, or meets when it runs already.
    run : the run (hex id) that the peer must take part in; None for whichever it does.

    Raises what the started peer failed with, and UsageProblem when it takes part in another run.
    """
    with contextlib.ExitStack() as stack:
        client = _session_of_running(home, stack)
        if client is not None:
            for address in bootstrap:
                client.post("/v1/connect", {"address": address})
        else:
            client = stack.enter_context(_started(home, _options(bootstrap, run)))
        taken = client.get("/v1/ping")["run"]
        if run is not None and run != taken:
            raise UsageProblem(
                f"the peer of this home takes part in run {taken[:12]}, not {run[:12]}",
                "give another --home to take part in another run",
            )
        yield client


def _session_of_running(home: Home, stack: contextlib.ExitStack) -> Client | None:
    """The client of the peer that runs on this home and stays, its session held by `stack`."""
    client = running_client(home)
    if client is not None:
        with contextlib.suppress(Unreachable):
            stack.enter_context(client.session())
            return client
    return None


def _options(bootstrap: Sequence[str], run: str | None) -> list[str]:
    joining = [part for address in bootstrap for part in ("--bootstrap", address)]
    return [*joining, *(["--run", run] if run else [])]


@contextlib.contextmanager
def _started(home: Home, arguments: Sequence[str]) -> Iterator[Client]:
    """A peer that lives as long as the block: it leaves when its standard input closes.

    When another command starts one at the same moment, or one is just leaving, that is waited for.
    """
    deadline = time.monotonic() + BUSY_PATIENCE
    while True:
        with tempfile.TemporaryFile() as words:
            process = _spawn(home, arguments, words)
            try:
                with contextlib.ExitStack() as stack:
                    yield _await_client(home, process, words, stack)
                return
            except HomeBusy:
                if process.poll() is None or time.monotonic() > deadline:
                    raise
            finally:
                assert process.stdin is not None
                process.stdin.close()
                process.wait()
        time.sleep(POLL)


def _spawn(home: Home, arguments: Sequence[str], words: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "paris_p2p.cli", "start", "--home", str(home.path)]
    return subprocess.Popen(
        [*command, "--until-stdin-closes", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=words,
        start_new_session=True,
    )


def _await_client(
    home: Home,
    process: subprocess.Popen[bytes],
    words: IO[bytes],
    stack: contextlib.ExitStack,
) -> Client:
    """The client of the home's peer, its session held by `stack`.

    Usually that of `process`, else of one that came first and stays.
    """
    while process.poll() is None:
        if (client := _session_of_running(home, stack)) is not None:
            return client
        time.sleep(POLL)
    if (client := _session_of_running(home, stack)) is not None:
        return client
    words.seek(0)
    said = words.read().decode(errors="replace").strip().splitlines()
    message = said[-1].removeprefix("error: ") if said else "the peer could not be started"
    raise error_with_code(process.returncode, message)


def _failure(response: httpx.Response) -> ParisError:
    try:
        return error_from(response.json())
    except (ValueError, KeyError):
        return ParisError(f"the peer of this home answered {response.status_code}")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise Unreachable(
            f"the connection to this home's peer broke ({type(error).__name__})",
            "See its log; the same command resumes",
        ) from error
