"""The client of a peer's local API, for commands in other processes of the same machine."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from paris_p2p.api.events import ENDED, SESSION_OPEN, Event, decode_numbered
from paris_p2p.errors import ParisError, Unreachable, error_from

PING_PATIENCE = 10.0
"""Seconds that a peer, however busy, has to answer a ping."""

ANSWER_PATIENCE = 300.0
"""Seconds a peer has for any other answer: some need lookups all over the swarm."""

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The API is plain HTTP. httpx would read all authorities' certificates for every call: 30 ms."""

RECONNECTING = (0.1, 0.5, 1.0, 2.0)
"""Seconds before each further attempt to follow a job after the connection broke."""


class Silent(Unreachable):
    """The peer of this home runs but does not answer."""


class ConnectionBroke(Unreachable):
    """The connection to the peer of this home broke."""


@dataclass(frozen=True)
class Client:
    """The local API of the peer in process `pid`. Calls raise the peer's errors.

    They also raise Unreachable when the connection breaks or the answer is not a peer's, and Silent
    when it does not come in time.
    """

    url: str
    token: str
    pid: int
    run: str | None = None
    """Which of the peer's runs is meant: an id, the beginning of one, or a name; None: any."""

    def runs(self) -> list[dict[str, str]]:
        """The {"id", "name"} of the runs that the peer takes part in. UsageProblem where the one
        that is meant is none of them."""
        runs = self._answer("GET", "/v1/ping", None, PING_PATIENCE).get("runs")
        if not isinstance(runs, list):
            raise _foreign(self.url)
        return runs

    def delete(self, path: str) -> dict[str, Any]:
        return self._answer("DELETE", path, None, ANSWER_PATIENCE)

    def get(self, path: str) -> dict[str, Any]:
        return self._answer("GET", path, None, ANSWER_PATIENCE)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._answer("POST", path, body, ANSWER_PATIENCE)

    def begin(self, kind: str, request: Mapping[str, Any]) -> str:
        """Begin a job; returns its id."""
        return str(self._answer("POST", "/v1/jobs", {"kind": kind, **request}, PING_PATIENCE)["id"])

    def jobs(self) -> list[dict[str, Any]]:
        """The running jobs, and those that ended last."""
        rows: list[dict[str, Any]] = self.get("/v1/jobs")["jobs"]
        return rows

    def stop(self, job: str) -> None:
        """Ask a job to end in good order. Returns at once."""
        self._answer("DELETE", f"/v1/jobs/{job}", None, PING_PATIENCE)

    def follow(self, job: str, after: int = 0) -> Iterator[Event]:
        """The events of a job after number `after`, until it ends. Raises the job's error.

        If the connection breaks, it is made again, and no event is lost.
        """
        pauses = iter(RECONNECTING)
        while True:
            try:
                for number, event in self._following(job, after):
                    if event["event"] == ENDED:
                        return
                    after, pauses = number, iter(RECONNECTING)
                    yield event
                broken = Unreachable("the peer of this home broke off", "Run the command again")
            except ConnectionBroke as error:
                broken = error
            pause = next(pauses, None)
            if pause is None:
                raise broken
            time.sleep(pause)

    def _following(self, job: str, after: int) -> Iterator[tuple[int, Event]]:
        path = self._of_run(f"/v1/jobs/{job}/events?after={after}")
        with self._translated(), self._http(None) as http, http.stream("GET", path) as response:
            if response.status_code != 200:
                response.read()
                raise _failure(response)
            yield from decode_numbered(response.iter_lines())

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Keep a peer that was started for a command running inside the block.

        Raises Unreachable when the peer is leaving already.
        """
        with self._http(PING_PATIENCE) as http, contextlib.ExitStack() as stack:
            with self._translated():
                response = stack.enter_context(http.stream("GET", "/v1/session"))
                lines = response.iter_lines()  # kept for the block: its end closes the stream
                opened = next(lines, "") == SESSION_OPEN
            if not opened:
                raise Unreachable("the peer of this home is leaving", "Run the command again")
            yield

    def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None, patience: float
    ) -> dict[str, Any]:
        with self._translated(), self._http(patience) as http:
            response = http.request(method, self._of_run(path), json=body)
        if response.status_code != 200:
            raise _failure(response)
        try:
            answer = response.json()
        except ValueError as error:
            raise _foreign(self.url) from error
        if not isinstance(answer, dict):
            raise _foreign(self.url)
        return answer

    def _of_run(self, path: str) -> str:
        """A path with the run that is meant."""
        if not self.run:
            return path
        return f"{path}{'&' if '?' in path else '?'}{urlencode({'run': self.run})}"

    def _http(self, patience: float | None) -> httpx.Client:
        """A connection that allows the peer `patience` seconds of silence; None: no limit."""
        headers = {"authorization": f"Bearer {self.token}"}
        timeout = httpx.Timeout(PING_PATIENCE, read=patience)
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=timeout,
            trust_env=False,
            verify=NO_AUTHORITIES,
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise Silent(
                f"the peer of this home, process {self.pid}, does not answer",
                f"Is it suspended? Run: kill -CONT {self.pid}",
            ) from error
        except httpx.HTTPError as error:
            raise ConnectionBroke(
                f"the connection to this home's peer broke ({type(error).__name__})",
                "See its log; the same command resumes",
            ) from error


def _failure(response: httpx.Response) -> ParisError:
    try:
        return error_from(response.json())
    except (ValueError, LookupError, TypeError, AttributeError):
        return ParisError(f"the peer of this home answered {response.status_code}")


def _foreign(url: str) -> Unreachable:
    return Unreachable(f"what answers at {url} is not our peer", "Run the command again")
