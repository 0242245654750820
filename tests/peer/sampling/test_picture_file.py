"""A picture file is refused before any work, or written, or saved elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from paris_p2p.errors import DiskFull, UsageProblem
from paris_p2p.peer.sampling import picture_file
from paris_p2p.peer.sampling.picture_file import PictureFile


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_new_file_is_written_and_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.png"
    PictureFile(path).write(b"picture")
    assert path.read_bytes() == b"picture"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.png"]


def test_checking_leaves_what_is_there_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"before")
    PictureFile(path)
    assert path.read_bytes() == b"before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["work", "x.png"]


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o666])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "x.png"
    path.touch()
    path.chmod(mode)
    PictureFile(path).write(b"picture")
    assert path.read_bytes() == b"picture"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "target.png", tmp_path / "link", tmp_path / "dangling"
    target.touch()
    link.symlink_to("target.png")
    dangling.symlink_to("new.png")
    PictureFile(link).write(b"one")
    PictureFile(dangling).write(b"two")
    assert link.is_symlink() and target.read_bytes() == b"one"
    assert dangling.is_symlink() and (tmp_path / "new.png").read_bytes() == b"two"


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path: Path) -> None:
    fifo, link, file = tmp_path / "fifo", tmp_path / "to-null", tmp_path / "file"
    os.mkfifo(fifo)
    link.symlink_to("/dev/null")
    file.touch()
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for path in (fifo, link, loop, Path("/dev/null"), Path(), Path("/"), file / "x.png", tmp_path):
        with pytest.raises(UsageProblem, match="cannot write") as caught:
            PictureFile(path)
        assert caught.value.remedy
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert stat.S_ISCHR(link.stat().st_mode)


@pytest.mark.parametrize("name", ["x" * 244, "x" * 300, "\u00e9" * 130])
def test_a_name_that_is_too_long_to_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageProblem, match="too long"):
        PictureFile(tmp_path / name)


def test_what_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.png"
    path.touch(mode=0o444)
    monkeypatch.setattr(os, "access", lambda path, how: False)
    with pytest.raises(UsageProblem, match="write-protected"):
        PictureFile(path)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(DiskFull("no room left"), DiskFull), (OSError(errno.EIO, "I/O error"), UsageProblem)],
)
def test_a_picture_that_cannot_be_written_in_the_end_is_saved_elsewhere(
    tmp_path: Path, work_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type
) -> None:
    file = PictureFile(tmp_path / "x.png")
    write = picture_file.write_atomically

    def broken(path: Path, data: bytes, mode: int) -> None:
        if path.parent == tmp_path:
            raise error
        write(path, data, mode)

    monkeypatch.setattr(picture_file, "write_atomically", broken)
    with pytest.raises(kind, match="the picture is in") as caught:
        file.write(b"picture")
    (saved,) = work_folder.iterdir()
    assert str(saved) in str(caught.value)
    assert saved.read_bytes() == b"picture"
