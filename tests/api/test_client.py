"""The peer of a home as commands find it: running, leaving, silent, or another program."""

from __future__ import annotations

import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from paris_p2p.api import calling, client
from paris_p2p.api.calling import Client
from paris_p2p.api.client import connected, running_client
from paris_p2p.errors import HomeBusy, NotAvailable, UsageProblem
from paris_p2p.home import Home
from peers.local_swarm import wait_until
from tests.cli.test_commands import paris_peer


@pytest.mark.process
def test_a_peer_started_for_one_command_stays_until_the_last_has_ended(tmp_path: Path) -> None:
    home = Home(tmp_path)
    attached, finish = threading.Event(), threading.Event()
    answers: list[str] = []

    def another_command() -> None:
        with connected(home, [], None) as client:
            attached.set()
            finish.wait(60)
            answers.append(client.runs()[0]["name"])

    other = threading.Thread(target=another_command)
    with connected(home, [], None):
        other.start()
        assert attached.wait(60)
        threading.Timer(2, finish.set).start()
    other.join(60)

    assert len(answers) == 1
    wait_until(lambda: home.holder() is None, "the peer to leave", 60)


@pytest.mark.timeout(120)
@pytest.mark.process
def test_a_command_does_not_wait_for_another_that_keeps_its_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LEAVE_PATIENCE", 1e6)
    home = Home(tmp_path)
    with ExitStack() as other_command:
        with connected(home, [], None):
            used = running_client(home)
            assert used is not None
            other_command.enter_context(used.session())
        assert used.runs()
    wait_until(lambda: home.holder() is None, "the peer to leave", 60)


def test_a_peer_that_another_command_is_starting_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, peer = Home(tmp_path), SimpleNamespace(runs=list)
    looks = iter([None] * 20 + [peer])

    def spawn(*_: object) -> None:
        raise AssertionError("it could only fail")

    monkeypatch.setattr(client, "POLL", 0.0)
    monkeypatch.setattr(client, "_session_of_running", lambda *_: next(looks))
    monkeypatch.setattr(client, "_spawn", spawn)
    with home.lock(), connected(home, [], None) as found:
        assert found is peer


def test_a_peer_that_is_leaving_is_waited_for_before_one_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, leaving, looks = Home(tmp_path), ExitStack(), iter(range(20))

    def look(*_: object) -> None:
        if next(looks, None) is None:
            leaving.close()

    def spawn(*_: object) -> None:
        assert home.holder() is None
        raise NotAvailable("started")

    monkeypatch.setattr(client, "POLL", 0.0)
    monkeypatch.setattr(client, "_session_of_running", look)
    monkeypatch.setattr(client, "_spawn", spawn)
    leaving.enter_context(home.lock())
    with leaving, pytest.raises(NotAvailable, match="started"), connected(home, [], None):
        pass


def test_a_busy_home_that_is_none_of_the_peers_doing_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the block raises starts no second peer, although the first one came too late."""

    def peer_that_came_first(home: Home, process: subprocess.Popen[bytes], *_: object) -> object:
        process.wait()
        return SimpleNamespace(runs=list)

    monkeypatch.setattr(client, "_spawn", lambda *_: subprocess.Popen("true", stdin=-1))
    monkeypatch.setattr(client, "_await_client", peer_that_came_first)
    with pytest.raises(HomeBusy, match="the training folder"), connected(Home(tmp_path), [], None):
        raise HomeBusy("the training folder is in use by process 1")


@pytest.mark.timeout(60)
def test_a_silent_peer_is_not_waited_for_to_stop_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "PING_PATIENCE", 0.2)
    with silent_program() as port, pytest.raises(calling.Silent, match="kill -CONT 7"):
        Client(f"http://127.0.0.1:{port}", "secret", 7).stop("job")


def test_a_peer_that_is_gone_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "RECONNECTING", (0.0, 0.0))
    with silent_program() as port:
        pass  # free once the block is left
    with pytest.raises(calling.ConnectionBroke, match="connection to this home's peer broke"):
        list(Client(f"http://127.0.0.1:{port}", "secret", 7).follow("job"))


def test_a_stream_that_ends_before_its_job_is_asked_for_again_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calling, "RECONNECTING", (0.0, 0.0))
    with web_server(200, b'id: 4\ndata: {"event": "claimed"}\n\n') as port:
        events = Client(f"http://127.0.0.1:{port}", "secret", 7).follow("job")
        assert [next(events)["event"] for _ in range(9)] == ["claimed"] * 9
    with (
        web_server(200, b": alive\n\n") as port,
        pytest.raises(calling.Unreachable, match="broke off"),
    ):
        list(Client(f"http://127.0.0.1:{port}", "secret", 7).follow("job"))


@contextmanager
def remembered(home: Home, port: int, pid: int) -> Iterator[None]:
    """The home says that process `pid` has its API at `port`."""
    home.create()
    card = {"url": f"http://127.0.0.1:{port}", "token": "secret", "pid": pid}
    home.api_file.write_text(json.dumps(card))
    yield


@contextmanager
def silent_program() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@contextmanager
def web_server(status: int, body: bytes) -> Iterator[int]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_silent_program_at_a_dead_peers_port_is_no_peer_of_ours(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with silent_program() as port, remembered(home, port, os.getpid()):
        assert running_client(home) is None
        done = paris_peer("status", "--json", "--home", str(home.path))
    assert done.returncode == 0, done.stderr


def test_a_peer_that_starts_is_not_taken_for_the_dead_one_before_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with silent_program() as port, remembered(home, port, 2**22 + 1), home.lock():
        assert running_client(home) is None


def test_a_peer_that_owns_the_home_and_is_silent_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "PING_PATIENCE", 0.2)
    home = Home(tmp_path)
    with (
        silent_program() as port,
        remembered(home, port, os.getpid()),
        home.lock(),
        pytest.raises(calling.Silent, match=f"kill -CONT {os.getpid()}"),
    ):
        running_client(home)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"runs": 1}'),
        (404, b""),
        (401, b'{"message": "who are you"}'),
        (500, b"[1]"),
    ],
)
def test_what_answers_otherwise_than_a_peer_is_none(
    tmp_path: Path, status: int, body: bytes
) -> None:
    home = Home(tmp_path)
    with web_server(status, body) as port, remembered(home, port, os.getpid()), home.lock():
        assert running_client(home) is None


def test_no_certificates_are_read_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: pytest.fail("they were read"))
    with web_server(200, b'{"runs": []}') as port:
        assert Client(f"http://127.0.0.1:{port}", "token", 1).runs() == []


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"url": 1, "token": "", "pid": 1}', "\x00"])
def test_an_api_file_that_says_nothing_is_no_peer(tmp_path: Path, card: str) -> None:
    home = Home(tmp_path)
    home.create()
    home.api_file.write_text(card)
    with home.lock():
        assert running_client(home) is None


def test_a_peer_that_never_comes_up_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "START_PATIENCE", 0.0)
    with (
        pytest.raises(calling.Unreachable, match="not up within"),
        connected(Home(tmp_path), [], None),
    ):
        pass


def test_a_peer_that_is_given_up_may_leave_in_good_order() -> None:
    leaving = "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"
    process = subprocess.Popen(["sh", "-c", leaving], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None and process.stdout.readline()
        client._end(process)
    assert process.returncode == 7


def test_no_peer_is_started_in_a_home_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with (
        pytest.raises(UsageProblem, match="belongs to"),
        connected(Home(tmp_path), [], None),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_relative_key_file_is_found_by_a_peer_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARIS_SWARM_KEY_FILE", "swarm.key")
    options = client._joining(Home(tmp_path / "home"), [], None)
    assert options == ["--swarm-key-file", str(tmp_path / "swarm.key")]
