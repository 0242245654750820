"""Socket folders: never taken from who lives there, swept once nobody does, short enough."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paris_p2p.errors import ParisError
from paris_p2p.network.p2pd import socket_folder
from paris_p2p.network.p2pd.socket_folder import PREFIX, SocketFolder, short_base, sweep
from tests.network.worlds import LibP2PWorld

NO_PROCESS = 4194304
"""A process id above all that Linux gives."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paris-test-", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_a_folder_of_a_process_that_we_cannot_see_is_left_alone(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of one in another container that shares the folder for temporary files."""
    monkeypatch.setattr(os, "getpid", lambda: NO_PROCESS)
    folder = SocketFolder()
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    assert folder.path.parent == short
    sweep(time.time())
    assert folder.path.exists()
    folder.remove()
    folder.remove()
    assert not list(short.iterdir())


def test_what_a_killed_process_left_is_swept_away(short: Path) -> None:
    script = (
        "import os, tempfile\n"
        f"tempfile.tempdir = {str(short)!r}\n"
        "from paris_p2p.network.p2pd.socket_folder import SocketFolder\n"
        "folder = SocketFolder()\n"
        "print(folder.path, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    left = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    folder = Path(left.stdout.decode().strip())
    assert folder.exists()
    sweep(time.time())
    assert not folder.exists()


def test_a_folder_that_is_being_made_is_left_alone(short: Path) -> None:
    unborn = short / f"{PREFIX}{NO_PROCESS}-unborn"
    unborn.mkdir()
    sweep(time.time())
    assert unborn.exists()


def test_a_folder_that_was_never_finished_is_swept_away_after_a_day(short: Path) -> None:
    unborn = short / f"{PREFIX}{NO_PROCESS}-unborn"
    unborn.mkdir()
    (unborn / "lock.new").touch()
    sweep(time.time() + 86000)
    assert unborn.exists()
    sweep(time.time() + 87000)
    assert not unborn.exists()


def test_a_folder_that_lost_its_lock_is_left_to_who_lives_there(short: Path) -> None:
    """Something that tidies up may have removed the lock, and left the sockets."""
    lived_in = SocketFolder()
    (lived_in.path / "lock").unlink()
    (lived_in.path / "p2pd.sock").touch()
    sweep(time.time() + 87000)
    assert (lived_in.path / "p2pd.sock").exists()
    lived_in.remove()


@pytest.mark.parametrize("failing", ["os.open", "fcntl.flock"])
def test_a_folder_that_cannot_be_locked_is_not_left_behind(
    short: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def no_more(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(failing, no_more)
    with pytest.raises(ParisError, match="Too many open files"):
        SocketFolder()
    monkeypatch.undo()
    assert not list(short.iterdir())


def test_sweeping_never_fails(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise OSError(24, "Too many open files")

    SocketFolder()
    monkeypatch.setattr(Path, "glob", no_more)
    sweep(time.time())


@pytest.mark.parametrize(
    ("places", "chosen"),
    [
        (["/tmp", "/var/tmp"], "/tmp"),
        (["/data/" + 60 * "x", "/tmp"], "/tmp"),
        (["/data/" + 20 * "ä" + 10 * "x", "/var/tmp"], "/var/tmp"),
        (["/data/" + 42 * "x"], "/data/" + 42 * "x"),
    ],
)
def test_the_first_place_with_a_short_name_is_taken(places: list[str], chosen: str) -> None:
    assert short_base(places) == chosen


def test_no_place_with_a_short_name_is_said() -> None:
    with pytest.raises(ParisError, match="too long") as caught:
        short_base(["/data/" + 60 * "x"])
    assert "TMPDIR" in caught.value.remedy


async def test_a_peer_starts_where_temporary_files_have_long_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / (60 * "x")
    long.mkdir()
    async with LibP2PWorld() as world:
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        peer = await world.start()
        assert str(peer._daemon._folder.path).startswith(socket_folder.SHORT_PLACES)
