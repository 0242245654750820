"""Files written in one step or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paris_p2p.errors import DiskFull, UsageProblem
from paris_p2p.files import (
    check_new_folder,
    folder_atomically,
    sweep_partial_files,
    write_atomically,
)

WRITE_AND_HANG = """
import sys
from pathlib import Path
from paris_p2p.files import write_atomically
def parts():
    yield b"half"
    print("writing", flush=True)
    sys.stdin.read()
write_atomically(Path(sys.argv[1]), parts())
"""


def start(program: str, argument: Path) -> subprocess.Popen[str]:
    """Run `program` until it has printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(argument)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file"
    write_atomically(file, b"a longer content")
    write_atomically(file, (part for part in (b"in", b"", b" parts")))
    assert file.read_bytes() == b"in parts"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_large_content_survives_short_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: whole_write(file, bytes(data[:7])))
    write_atomically(tmp_path / "file", b"0123456789" * 10)
    assert (tmp_path / "file").read_bytes() == b"0123456789" * 10


def failing(code: int) -> Callable[..., int]:
    def fail(*arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"old")
    monkeypatch.setattr(os, call, failing(code))
    with pytest.raises(DiskFull, match="no room left on the disk"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_other_failures_are_not_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("no second")

    with pytest.raises(RuntimeError, match="no second"):
        write_atomically(tmp_path / "file", parts())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_can_be_swept(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"old")
    stop(start(WRITE_AND_HANG, file))
    assert len(list(tmp_path.iterdir())) == 2
    sweep_partial_files(tmp_path)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b"old"


def test_a_folder_appears_complete(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with folder_atomically(folder) as aside:
        (aside / "part").mkdir()
        (aside / "part" / "file").write_bytes(b"text")
        assert not folder.exists()
    assert (folder / "part" / "file").read_bytes() == b"text"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder_atomically(tmp_path / "folder") as aside:
        (aside / "file").write_bytes(b"half")
        raise KeyboardInterrupt
    with pytest.raises(DiskFull), folder_atomically(tmp_path / "folder"):
        raise OSError(errno.ENOSPC, "no room")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_never_replaces_one_that_came_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with pytest.raises(OSError, match="not empty"), folder_atomically(folder):
        folder.mkdir()
        (folder / "other").write_bytes(b"mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "other"]


FILL_AND_HANG = """
import sys
from pathlib import Path
from paris_p2p.files import folder_atomically
with folder_atomically(Path(sys.argv[1])) as aside:
    (aside / "file").write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_of_a_folder_left_goes_with_the_next_one(tmp_path: Path) -> None:
    folder = tmp_path / "fol[d]er"
    stop(start(FILL_AND_HANG, folder))
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".fol[d]er.")
    with folder_atomically(tmp_path / "another"):
        pass
    assert leftover.exists()
    with folder_atomically(folder):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "fol[d]er"]


def test_where_a_new_folder_can_be_made(tmp_path: Path) -> None:
    check_new_folder(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for path, words in (
        (tmp_path, "exists"),
        (tmp_path / "link", "exists"),
        (tmp_path / "file" / "new", "Not a directory"),
        (Path("new"), "not an absolute path"),
    ):
        with pytest.raises(UsageProblem, match=words):
            check_new_folder(path)
