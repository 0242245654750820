"""Finds the peer that runs on a home, or starts one for the commands."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO

import httpx

from paris_p2p import child, config
from paris_p2p.api.calling import Client, Silent
from paris_p2p.errors import HomeBusy, ParisError, Unreachable, error_with_code
from paris_p2p.home import Home

RUN_ID_DIGITS = 64

POLL = 0.1
START_PATIENCE = 300.0
"""Seconds that a peer has to start, or to save its work and leave."""

LEAVE_PATIENCE = 60.0
"""Seconds that a peer that was started for a command has to leave."""

NOTICE = 2.0
"""Seconds that a peer without users has to remove its API file."""


def running_client(home: Home) -> Client | None:
    """The client of the peer that runs on this home, or None. Raises Silent.

    The API file of a killed peer leads nowhere, or to a foreign program. So the file counts only
    while the process that wrote it owns the home.
    """
    client = _remembered_client(home)
    if client is None or client.pid != home.holder():
        return None
    try:
        client.runs()
    except Silent:
        raise
    except ParisError:
        return None
    return client


def _remembered_client(home: Home) -> Client | None:
    """The client of the peer that last wrote the API file."""
    try:
        card = json.loads(home.api_file.read_bytes())
        return Client(str(httpx.URL(card["url"])), str(card["token"]), int(card["pid"]))
    except (OSError, ValueError, LookupError, TypeError, httpx.InvalidURL):
        return None


@contextlib.contextmanager
def connected(
    home: Home, bootstrap: Sequence[str], run: str | None, options: Sequence[str] = ()
) -> Iterator[Client]:
    """A client of this home's peer; if none runs, one is started for the block.

    Parameters
    ----------
    bootstrap : addresses that a started peer joins through, and a running one meets.
    run : which of the peer's runs is meant: its id, the beginning of that, or its name; None for
        any. A peer that is started for the block takes part in that one alone where it is an id.
    options : further options of `paris-peer start`, for a peer that is started.

    Raises the started peer's error, and UsageProblem when the peer takes part in no such run.
    """
    with contextlib.ExitStack() as stack:
        client = _session_once_up(home, stack)
        if client is not None:
            for address in bootstrap:
                client.post("/v1/connect", {"address": address})
        else:
            arguments = [*_joining(home, bootstrap, run), *options]
            client = stack.enter_context(_started(home, arguments))
        if run:
            client = replace(client, run=run)
            client.runs()
        yield client


def _session_once_up(home: Home, stack: contextlib.ExitStack) -> Client | None:
    """As `_session_of_running`, after waiting for a peer that is starting or leaving."""
    deadline = time.monotonic() + START_PATIENCE
    while (client := _session_of_running(home, stack)) is None:
        if home.holder() is None or time.monotonic() > deadline:
            return None
        time.sleep(POLL)
    return client


def _session_of_running(home: Home, stack: contextlib.ExitStack) -> Client | None:
    """The client of the running peer, its session held by `stack`; None if it is leaving."""
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
    """Options for joining, with paths that hold in any folder."""
    key = config.load(home, {}).swarm_key_file
    return [
        *(part for address in bootstrap for part in ("--bootstrap", address)),
        *(["--run", run] if run and len(run) == RUN_ID_DIGITS else []),
        *(["--swarm-key-file", key] if key else []),
    ]


@contextlib.contextmanager
def _started(home: Home, arguments: Sequence[str]) -> Iterator[Client]:
    """A peer that lives as long as the block: it leaves when its standard input closes.

    If another process takes the home first, its peer is used, once it is up.
    """
    deadline = time.monotonic() + START_PATIENCE
    while True:
        with tempfile.TemporaryFile() as words, contextlib.ExitStack() as stack:
            process = _spawn(home, arguments, words)
            stack.callback(_let_go, home, process)
            try:
                client = _await_client(home, process, words, stack)
            except HomeBusy:
                if time.monotonic() > deadline:
                    raise
                continue
            yield client
            return


def _let_go(home: Home, process: subprocess.Popen[bytes]) -> None:
    """Wait until the peer has left. A peer that keeps its API file stays for other commands."""
    assert process.stdin is not None
    process.stdin.close()
    if _ended(process, NOTICE):
        return
    told = _remembered_client(home)
    if told is None or told.pid != process.pid:
        _ended(process, LEAVE_PATIENCE)


def _ended(process: subprocess.Popen[bytes], patience: float) -> bool:
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        return False
    return True


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


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate the process; kill it only if need be, because its children would outlive it."""
    process.terminate()
    if not _ended(process, LEAVE_PATIENCE):
        process.kill()


def _await_client(
    home: Home,
    process: subprocess.Popen[bytes],
    words: IO[bytes],
    stack: contextlib.ExitStack,
) -> Client:
    """The client of the home's peer, its session held by `stack`.

    Usually that peer is `process`, else one that was there first and stays.
    """
    deadline = time.monotonic() + START_PATIENCE
    while process.poll() is None:
        with contextlib.suppress(Silent):
            if (client := _session_of_running(home, stack)) is not None:
                return client
        if time.monotonic() > deadline:
            _end(process)
            raise Unreachable(
                f"the peer of this home was not up within {START_PATIENCE:.0f} s",
                f"See {home.log_file}",
            )
        time.sleep(POLL)
    if (client := _session_once_up(home, stack)) is not None:
        return client
    words.seek(0)
    said = words.read().decode(errors="replace").strip().splitlines()
    message = said[-1].removeprefix("error: ") if said else "the peer could not be started"
    raise error_with_code(process.returncode, message)
