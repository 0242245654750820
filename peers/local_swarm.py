"""Real `paris-peer` processes on loopback, each with a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from paris_p2p import child
from paris_p2p.api.client import running_client
from paris_p2p.errors import ParisError
from paris_p2p.home import Home

COMMAND = child.command("paris_p2p.cli")
POLL = 0.5
"""Seconds between two looks at what is waited for: each may cost a peer a look at the DHT."""

Event = dict[str, Any]


class SwarmProblem(Exception):
    """A process of the local swarm failed."""


@dataclass
class Process:
    """One `paris-peer` command with --json: its events as they come, its exit code at the end."""

    name: str
    popen: subprocess.Popen[str]
    errors: Path
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def first(self, kind: str, patience: float = 60) -> Event:
        """Wait for the first event of a kind. SwarmProblem when the process ends without it."""
        wait_until(
            lambda: self._find(kind) is not None or not self._reader.is_alive(),
            f"{self.name}: {kind}",
            patience,
        )
        found = self._find(kind)
        if found is None:
            raise SwarmProblem(f"{self.name} ended with {self.popen.wait()}: {self.words()}")
        return found

    def last(self, kind: str) -> Event | None:
        return next((e for e in reversed(self.events) if e.get("event") == kind), None)

    def finish(self, patience: float = 300) -> list[Event]:
        """All events, once the process has ended with exit code 0."""
        code = self.popen.wait(patience)
        self._reader.join()
        if code != 0:
            raise SwarmProblem(f"{self.name} ended with {code}: {self.words()}")
        return self.events

    def words(self) -> str:
        """The process's standard error."""
        return self.errors.read_text(errors="replace").strip()

    def stop(self, number: int = signal.SIGINT, patience: float = 150) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
            self.popen.wait(patience)

    def _find(self, kind: str) -> Event | None:
        return next((e for e in self.events if e.get("event") == kind), None)

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.events.append(json.loads(line))


class LocalSwarm:
    """Peers named by the caller; each name is a home under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.peers: dict[str, Process] = {}
        self._commands: list[Process] = []

    def home(self, name: str) -> Path:
        return self.folder / name

    def start(self, name: str, bootstrap: Sequence[str] = (), *options: str) -> Process:
        """`paris-peer start` for `name`, once it is ready."""
        join = [part for address in bootstrap for part in ("--bootstrap", address)]
        process = self.run(name, "start", "--listen", "127.0.0.1", *join, *options)
        self.peers[name] = process
        process.first("ready")
        return process

    def address(self, name: str) -> str:
        """The address at which others reach the peer `name`."""
        return str(self.peers[name].first("ready")["addresses"][0])

    def run(self, name: str, command: str, *arguments: str) -> Process:
        """Start any command on the home of `name`, without waiting for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        errors = self.folder / f"{name}-{command}-{len(self._commands)}.err"
        with errors.open("w") as words:
            popen = subprocess.Popen(
                [*COMMAND, *command.split(), "--home", str(self.home(name)), "--json", *arguments],
                env=child.environment(),
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=words,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        process = Process(f"{name} {command}", popen, errors)
        self._commands.append(process)
        return process

    def status(self, name: str) -> dict[str, Any]:
        """What `paris-peer status --json` says of `name`, which runs: its API is asked at once."""
        try:
            client = running_client(Home(self.home(name)))
            if client is None:
                raise SwarmProblem(f"{name} status: it does not run")
            return client.get("/v1/status")
        except ParisError as error:
            raise SwarmProblem(f"{name} status: {error.message}") from error

    def run_status(self, name: str) -> dict[str, Any]:
        """What `status` says of the only run of `name`."""
        (run,) = self.status(name)["runs"]
        return dict(run)

    def kill(self, name: str) -> None:
        """kill -9 for the peer and its trainer, as a power cut would."""
        peer = self.peers.pop(name)
        victims = [*_children(peer.popen.pid), peer.popen.pid]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        peer.popen.wait()

    def stop(self, name: str) -> None:
        self.peers.pop(name).stop()

    def close(self) -> None:
        """Stop all running processes, newest first; kill those that do not stop."""
        for process in reversed(self._commands):
            try:
                process.stop()
            except subprocess.TimeoutExpired:
                process.popen.kill()
        self.peers.clear()


@contextmanager
def local_swarm(folder: Path) -> Iterator[LocalSwarm]:
    """A swarm whose processes all end with the `with` block."""
    swarm = LocalSwarm(folder)
    try:
        yield swarm
    finally:
        swarm.close()


def wait_until(condition: Callable[[], bool], what: str, patience: float) -> None:
    """Poll until `condition` holds; SwarmProblem naming `what` after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise SwarmProblem(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(POLL)


def _children(pid: int) -> list[int]:
    """Every descendant of a process."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
