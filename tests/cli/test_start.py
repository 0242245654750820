"""`paris-peer start` with a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paris_p2p.home import Home
from paris_p2p.identity import Identity
from peers.local_swarm import wait_until
from tests.api.test_client import silent_program
from tests.cli.test_commands import paris_peer

pytestmark = [pytest.mark.timeout(600), pytest.mark.process]


@pytest.fixture
def unheard(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A bootstrap whose standard output is on a full disk, once it has found that out."""
    home = Home(tmp_path / "home")
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "paris_p2p.cli", "start", "--bootstrap-only"),
                *("--listen", "127.0.0.1", "--home", str(home.path)),
            ],
            stdout=full,
        )
    try:
        wait_until(lambda: "standard output is lost" in log_of(home), "a loss", 60)
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(home: Home) -> str:
    return home.log_file.read_text() if home.log_file.exists() else ""


@pytest.mark.slow
def test_a_peer_that_nobody_hears_lives_on_and_leaves_in_good_order_when_the_terminal_closes(
    unheard: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    done = paris_peer("doctor", "--home", str(home.path), "--json")
    assert '"peers"' in done.stdout, "it answers"
    assert home.api_file.exists()
    for _ in range(2):
        unheard.send_signal(signal.SIGHUP)
    assert unheard.wait(60) == 0
    assert not home.api_file.exists()
    assert log_of(home).count("standard output is lost") == 1


def test_another_key_at_the_address_of_a_bootstrap_is_named(
    unheard: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    there = Identity.load(home.identity_file).peer_id
    transport = f"/ip4/127.0.0.1/tcp/{home.port_file.read_text()}"
    expected = Identity.generate().peer_id
    done = paris_peer(
        *("start", "--listen", "127.0.0.1", "--home", str(tmp_path / "other")),
        *("--bootstrap", f"{transport}/p2p/{expected}"),
    )
    assert done.returncode == 5
    assert done.stderr.startswith(f"error: {there} answers at {transport}, not {expected}. ")
    assert len(done.stderr.splitlines()) == 1


def test_a_peer_whose_command_ends_before_it_is_up_gives_up(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with silent_program() as port:
        bootstrap = f"/ip4/127.0.0.1/tcp/{port}/p2p/{Identity.generate().peer_id}"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "paris_p2p.cli", "start", "--until-stdin-closes"),
                *("--listen", "127.0.0.1", "--home", str(home.path), "--bootstrap", bootstrap),
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: home.identity_file.exists(), "it to begin", 60)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, said) == (130, "error: stopped before the peer was up\n")
    assert home.holder() is None
