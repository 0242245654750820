"""Commands on a home where no peer runs: they start one for themselves, and leave none behind."""

from __future__ import annotations

import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.cli.test_commands import paris_peer

pytestmark = pytest.mark.process


def processes_of(home: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if str(home) in (p.info["cmdline"] or [])]


def test_status_on_an_empty_home_answers_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = paris_peer("status", "--json", "--home", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["name"] == "emoji-64"
    assert processes_of(tmp_path) == []
    assert not (tmp_path / "api.json").exists()


@pytest.mark.slow
def test_two_commands_at_once_share_one_peer(tmp_path: Path) -> None:
    def status(_: int) -> subprocess.CompletedProcess[str]:
        return paris_peer("status", "--json", "--home", str(tmp_path))

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(status, range(2)))
    assert [done.returncode for done in both] == [0, 0], [done.stderr for done in both]
    assert len({json.loads(done.stdout)["peer"]["id"] for done in both}) == 1


def test_an_unknown_expert_is_one_clear_line_with_its_code(tmp_path: Path) -> None:
    done = paris_peer("claim-expert", "--expert", "77", "--home", str(tmp_path))
    assert done.returncode == 6
    assert done.stderr == (
        "error: the run has no expert 77. It has experts 0 to 7, and the router\n"
    )


@pytest.mark.parametrize("option", ["--port", "--api-port"])
def test_a_port_that_is_taken_is_one_clear_line_with_its_code(tmp_path: Path, option: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = paris_peer("start", option, port, "--listen", "127.0.0.1", "--home", str(tmp_path))
    assert done.returncode == 10
    assert port in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_unreachable_bootstrap_fails_a_command_that_starts_its_own_peer(tmp_path: Path) -> None:
    from paris_p2p.identity import Identity

    address = f"/ip4/127.0.0.1/tcp/9/p2p/{Identity.generate().peer_id}"
    done = paris_peer("status", "--bootstrap", address, "--home", str(tmp_path))
    assert done.returncode == 5, done.stderr
    assert "/ip4/127.0.0.1/tcp/9" in done.stderr
