"""`paris-bootstrap` as a real process: no torch in it, an address that works, a good end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.home import Home
from paris_p2p.identity import Identity
from tests.cli.test_commands import paris_peer

pytestmark = pytest.mark.process

HEAVY = ("torch", "numpy", "diffusers")


class Running:
    """A bootstrap of its own home, started with --json."""

    def __init__(self, home: Path, *options: str) -> None:
        self.popen = subprocess.Popen(
            [
                *(sys.executable, "-c", "from paris_p2p.cli import bootstrap; bootstrap()"),
                *("--home", str(home), "--listen", "127.0.0.1", "--json", *options),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout is not None
        self.ready: dict[str, Any] = json.loads(self.popen.stdout.readline())

    def stop(self) -> int:
        self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(60)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    bootstrap = Running(tmp_path / "home")
    yield bootstrap
    bootstrap.popen.kill()
    bootstrap.popen.wait()


def mapped(pid: int) -> str:
    """The files mapped into a process: its libraries are among them."""
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no /proc here")  # noqa: PTH110
def test_no_torch_is_in_the_process(running: Running) -> None:
    libraries = mapped(running.popen.pid)
    assert "_rust" in libraries, "cryptography's library is there, so others would be seen too"
    assert [name for name in HEAVY if f"/{name}/" in libraries] == []


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.slow
def test_the_doctor_of_a_newcomer_is_answered_by_it(running: Running, tmp_path: Path) -> None:
    done = paris_peer(
        *("doctor", "--home", str(tmp_path / "newcomer"), "--json"),
        *("--bootstrap", running.ready["addresses"][0]),
    )
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    assert rows["bootstrap"]["state"] == rows["clock"]["state"] == rows["peers"]["state"] == "ok"
    assert "reached by 1 of 1" in rows["dial back"]["seen"]
    assert done.returncode == 0, done.stdout


def test_its_own_doctor_works_and_commands_of_a_run_say_what_it_is(
    running: Running, tmp_path: Path
) -> None:
    home = str(tmp_path / "home")
    done = paris_peer("doctor", "--home", home, "--json")
    checks = {row["check"] for row in json.loads(done.stdout)}
    assert "dial back" in checks and "GPU" not in checks
    done = paris_peer("status", "--home", home)
    assert done.returncode == 2
    assert "bootstrap" in done.stderr


def test_it_leaves_in_good_order_and_comes_back_under_the_same_address(tmp_path: Path) -> None:
    first = Running(tmp_path / "home")
    assert first.stop() == 0
    assert not Home(tmp_path / "home").api_file.exists()
    second = Running(tmp_path / "home")
    assert second.stop() == 0
    assert second.ready["addresses"] == first.ready["addresses"]


def test_it_starts_although_no_other_bootstrap_answers(tmp_path: Path) -> None:
    dead = f"/ip4/127.0.0.1/tcp/9/p2p/{Identity.generate().peer_id}"
    bootstrap = Running(tmp_path / "home", "--bootstrap", dead)
    assert bootstrap.ready["online"] is False
    assert bootstrap.stop() == 0


def test_it_does_not_train(tmp_path: Path) -> None:
    done = paris_peer("start", "--bootstrap-only", "--train", "--home", str(tmp_path))
    assert done.returncode == 2
    assert "exclude each other" in done.stderr
