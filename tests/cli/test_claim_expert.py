"""What ends `claim-expert`, as a process of its own beside a stand-in for the peer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from paris_p2p.errors import Held
from paris_p2p.home import Home
from tests.cli.test_commands import paris_peer

CLAIMED = {"event": "claimed", "name": "expert 0", "slot": 0, "job": "7", "online": True}
PATIENCE = 60


class StandIn(ThreadingHTTPServer):
    """A peer with one job, which ends some time after it is told to stop."""

    daemon_threads = True

    def __init__(self, home: Path) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.stopped = threading.Event()
        self.saved = threading.Event()
        self.begun = False
        self.first = CLAIMED
        self.cuts = 0
        """How often the connection breaks before the job's second event."""
        self.followed: list[str] = []
        home.mkdir()
        card = {"url": f"http://127.0.0.1:{self.server_port}", "token": "t", "pid": os.getpid()}
        (home / "api.json").write_text(json.dumps(card))


class Requests(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self._answer()
        if self.path == "/v1/session":
            self._write(": open\n\n")
            self.server.saved.wait(PATIENCE)
        elif self.path == "/v1/jobs":
            row = {"id": "7", "kind": "training", "slot": 0, "ended": None, "newest": 1}
            self._write(json.dumps({"jobs": [row] if self.server.begun else []}))
        elif self.path.startswith("/v1/jobs/7/events"):
            self._tell(self.path)
        else:
            self._write(json.dumps({"runs": [{"id": "ab" * 32, "name": "a"}]}))

    def do_POST(self) -> None:
        self._answer()
        self._write('{"id": "7"}')
        self.server.begun = True

    def do_DELETE(self) -> None:
        self._answer()
        self._write("{}")
        self.server.stopped.set()

    def _tell(self, path: str) -> None:
        """The job's two events and its end."""
        self.server.followed.append(path)
        if path.endswith("after=0"):
            self._write(f"id: 1\ndata: {json.dumps(self.server.first)}\n\n")
        if self.server.cuts:
            self.server.cuts -= 1
            return
        self.server.saved.wait(PATIENCE)
        self._write('id: 2\ndata: {"event": "released", "name": "expert 0"}\n\n')
        self._write('data: {"event": "ended"}\n\n')

    def _answer(self) -> None:
        self.send_response(200)
        self.end_headers()

    def _write(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(tmp_path / "home") as server, Home(tmp_path / "home").lock():
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.saved.set()
        server.shutdown()
        serving.join()


Claim = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def claim(peer: StandIn, tmp_path: Path) -> Iterator[Claim]:
    """Starts `claim-expert`, under another command if one is given; waits for its first event."""
    processes = []

    def start(*under: str, first: str = "claimed", **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "paris_p2p.cli", "claim-expert", "--json"]
        command += ["--expert", "0"]
        process = subprocess.Popen(
            [*under, *command, "--home", str(tmp_path / "home")],
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        assert next_event(process) == first
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def next_event(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["event"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_to_end_waits_until_the_work_is_saved(
    peer: StandIn, claim: Claim, number: signal.Signals
) -> None:
    process = claim()
    process.send_signal(number)
    assert next_event(process) == "stopping"
    assert peer.stopped.wait(PATIENCE)
    if number != signal.SIGINT:
        process.send_signal(number)  # a shell and the kernel both tell of a closed terminal
    assert process.poll() is None
    peer.saved.set()
    assert next_event(process) == "released"
    assert process.wait(PATIENCE) == 0


def test_a_second_ctrl_c_waits_for_nothing(peer: StandIn, claim: Claim) -> None:
    process = claim()
    process.send_signal(signal.SIGINT)
    assert peer.stopped.wait(PATIENCE)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == -signal.SIGINT
    assert not peer.saved.is_set()


def test_under_nohup_a_closed_terminal_changes_nothing(peer: StandIn, claim: Claim) -> None:
    process = claim(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    peer.saved.set()
    assert next_event(process) == "released"
    assert process.wait(PATIENCE) == 0
    assert not peer.stopped.is_set()


def test_before_there_is_a_claim_ctrl_c_stops_the_job_and_waits_for_nothing(
    peer: StandIn, claim: Claim
) -> None:
    peer.first = {"event": "warning", "text": "another peer uses this key"}
    process = claim(first="warning")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert peer.stopped.is_set() and not peer.saved.is_set()


def test_where_the_connection_breaks_the_job_is_followed_from_the_event_heard_last(
    peer: StandIn, claim: Claim
) -> None:
    peer.cuts = 2
    peer.saved.set()
    process = claim()
    assert next_event(process) == "released"
    assert process.wait(PATIENCE) == 0
    assert [path.rpartition("=")[2] for path in peer.followed] == ["0", "1", "1"]
    assert not peer.stopped.is_set()


def test_who_is_killed_stops_nothing_and_the_same_command_joins_the_job_and_can_stop_it(
    peer: StandIn, claim: Claim
) -> None:
    claim().kill()
    process = claim(first="joined")
    assert not peer.stopped.is_set()
    process.send_signal(signal.SIGINT)
    assert next_event(process) == "stopping"
    assert peer.stopped.wait(PATIENCE)
    peer.saved.set()
    assert next_event(process) == "released"
    assert process.wait(PATIENCE) == 0


def test_a_job_that_is_there_is_not_taken_for_one_with_other_limits(
    peer: StandIn, tmp_path: Path
) -> None:
    peer.begun = True
    arguments = ("--expert", "0", "--steps", "3", "--home", str(tmp_path / "home"))
    done = paris_peer("claim-expert", *arguments)
    assert done.returncode == Held.exit_code
    assert "training expert 0 already" in done.stderr
    assert "paris-peer claim-expert --expert 0" in done.stderr


def test_a_job_at_another_slot_is_told_beside(peer: StandIn, tmp_path: Path) -> None:
    peer.begun = True
    peer.saved.set()
    done = paris_peer("claim-expert", "--router", "--home", str(tmp_path / "home"))
    assert "training expert 0 too; to follow or stop that: paris-peer claim-e" in done.stdout
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "released expert 0")


def can_be_first() -> bool:
    """Whether a process can be started as the first of a container here."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None and subprocess.run([unshare, "--pid", "--fork", "true"]).returncode == 0
    )


@pytest.mark.skipif(not can_be_first(), reason="needs a PID namespace")
def test_the_first_process_of_a_container_hears_signals_too(peer: StandIn, claim: Claim) -> None:
    """The kernel applies no default action to it, so whatever it does not handle is lost."""
    process = claim("unshare", "--pid", "--fork", "--kill-child")
    (first,) = psutil.Process(process.pid).children()
    first.send_signal(signal.SIGTERM)
    assert peer.stopped.wait(PATIENCE)
    first.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130


@pytest.mark.parametrize("minutes", ["nan", "1e308"])
def test_what_is_no_length_of_time_is_refused(tmp_path: Path, minutes: str) -> None:
    done = paris_peer("claim-expert", "--minutes", minutes, "--home", str(tmp_path))
    assert done.returncode == 2
    assert "--minutes" in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_absurd_number_of_steps_is_refused(tmp_path: Path) -> None:
    done = paris_peer("claim-expert", "--steps", "9" * 400, "--home", str(tmp_path))
    assert done.returncode == 2
    assert "--steps" in done.stderr and len(done.stderr.splitlines()) == 1
