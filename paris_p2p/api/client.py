"""What the commands use to speak to the peer of a home, started for them when none runs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO

import httpx

from paris_p2p import child, config
from paris_p2p.api.calling import Client, Silent
from paris_p2p.errors import HomeBusy, ParisError, Unreachable, UsageProblem, error_with_code
from paris_p2p.home import Home

POLL = 0.1
BUSY_PATIENCE = 30.0
"""Seconds to wait for another process that is starting or leaving on the same home."""

START_PATIENCE = 300.0
LEAVE_PATIENCE = 60.0
"""Seconds until a peer that was started for a command is up, and until it has left."""


def running_client(home: Home) -> Client | None:
    """The client of the peer that runs on this home, or None.

    What a peer left behind when it was killed leads nowhere, or to a program that is none of ours:
    it counts only while the process that wrote it owns the home. Raises Silent.
    """
    client = _remembered_client(home)
    if client is None or client.pid != home.holder():
        return None
    try:
        client.run()
    except Silent:
        raise
    except ParisError:
        return None
    return client


def _remembered_client(home: Home) -> Client | None:
    """The client of the peer that last wrote where its API is."""
    try:
        card = json.loads(home.api_file.read_bytes())
        return Client(str(httpx.URL(card["url"])), str(card["token"]), int(card["pid"]))
    except (OSError, ValueError, LookupError, TypeError, httpx.InvalidURL):
        return None


@contextlib.contextmanager
def connected(
    home: Home, bootstrap: Sequence[str], run: str | None, options: Sequence[str] = ()
) -> Iterator[Client]:
    """A client of this home's peer; one is started for the block when none runs.

    Parameters
    ----------
    bootstrap : addresses that the peer joins through, or meets when it runs already.
    run : the run (hex id) that the peer must take part in; None for whichever it does.
    options : further ones of `paris-peer start`, for a peer that is started.

    Raises what the started peer failed with, and UsageProblem when it takes part in another run.
    """
    with contextlib.ExitStack() as stack:
        client = _session_of_running(home, stack)
        if client is not None:
            for address in bootstrap:
                client.post("/v1/connect", {"address": address})
        else:
            arguments = [*_joining(home, bootstrap, run), *options]
            client = stack.enter_context(_started(home, arguments))
        taken = client.run()
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
        try:
            stack.enter_context(client.session())
        except Silent:
            raise
        except Unreachable:
            return None
    return client


def _joining(home: Home, bootstrap: Sequence[str], run: str | None) -> list[str]:
    """Options with which a peer joins, for a process in another folder than this one."""
    key = config.load(home, {}).swarm_key_file
    return [
        *(part for address in bootstrap for part in ("--bootstrap", address)),
        *(["--run", run] if run else []),
        *(["--swarm-key-file", key] if key else []),
    ]


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
                _let_go(process)
        time.sleep(POLL)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Wait until the peer has left; one that other commands use stays for them."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LEAVE_PATIENCE)


def _spawn(home: Home, arguments: Sequence[str], words: IO[bytes]) -> subprocess.Popen[bytes]:
    home.create()
    command = child.command("paris_p2p.cli", "start", "--home", str(home.path))
    return subprocess.Popen(
        [*command, "--until-stdin-closes", *arguments],
        cwd=home.path,
        env=child.environment(),
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
    deadline = time.monotonic() + START_PATIENCE
    while process.poll() is None:
        with contextlib.suppress(Silent):
            if (client := _session_of_running(home, stack)) is not None:
                return client
        if time.monotonic() > deadline:
            process.kill()
            raise Unreachable(
                f"the peer of this home was not up within {START_PATIENCE:.0f} s",
                f"See {home.log_file}",
            )
        time.sleep(POLL)
    if (client := _session_of_running(home, stack)) is not None:
        return client
    words.seek(0)
    said = words.read().decode(errors="replace").strip().splitlines()
    message = said[-1].removeprefix("error: ") if said else "the peer could not be started"
    raise error_with_code(process.returncode, message)
