"""Atomic writes and lock files.

A file or folder that must survive a crash is written aside, synced and renamed (`write_atomically`,
`folder_atomically`), so a reader sees the old content or the new, never a part.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from paris_p2p.errors import DiskFull, HomeBusy, UsageProblem

PARTIAL_SUFFIX = ".partial"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk."""


@contextmanager
def locked(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Hold the lock file at `path` inside the block. HomeBusy when another process does.

    The message is "`what` is in use by process N" and `remedy`. DiskFull when there is no room.
    """
    with room_for(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take_lock(file, what, remedy)
        with room_for(path):
            os.ftruncate(file, 0)
            write_all(file, str(os.getpid()).encode())
        yield
        os.ftruncate(file, 0)
    finally:
        os.close(file)


def lock_holder(path: Path) -> int | None:
    """The process that holds a lock file; 0 if it has not written its id, None for none."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        free = _locks(file, fcntl.LOCK_SH)
        return None if free else int(_holder_in(file) or 0)
    finally:
        os.close(file)


def write_atomically(
    path: Path,
    data: bytes | memoryview | Iterable[bytes | memoryview],
    mode: int = 0o600,
    *,
    synced: bool = True,
) -> None:
    """Replace `path` by `data` in one step that survives a crash once this returns.

    Without `synced` it survives only the crash of a process. After a power cut the file may be gone
    or damaged, and its readers must notice.

    Missing folders on the way are made. DiskFull when there is no room. On any error `path` is as
    before and nothing is left beside it. A kill may leave a `.partial` file, which
    `sweep_partial_files` removes.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        with room_for(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            parts = (data,) if isinstance(data, bytes | memoryview) else data
            _write_new(aside, parts, mode, synced)
            aside.replace(path)
            if synced:
                _sync(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            aside.unlink()
        raise


def check_new_folder(path: Path) -> None:
    """UsageProblem unless a new folder can be made at the absolute `path`."""
    remedy = "choose another folder: it must not exist yet"
    if not path.is_absolute():
        raise UsageProblem(f"{path} is not an absolute path", "give the whole path")
    if path.exists() or path.is_symlink():
        raise UsageProblem(f"{path} exists", remedy)
    try:
        path.mkdir(parents=True)
        path.rmdir()
    except OSError as error:
        raise UsageProblem(f"cannot make {path}: {error.strerror or error}", remedy) from error


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """A new folder to fill inside the block. It takes the name `path` at the end, in one step.

    Until then it lies beside `path`, hidden. The step survives a crash. On any error nothing is
    left. A kill may leave the hidden folder, which the next call for the same `path` removes.
    DiskFull when there is no room, OSError when `path` is a folder that is not empty, or a file.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.????????{PARTIAL_SUFFIX}"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with room_for(path):
            aside.mkdir(parents=True)
            yield aside
            for inner in sorted(aside.rglob("*"), reverse=True):
                _sync(inner)
            _sync(aside)
            aside.rename(path)
            _sync(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def write_all(file: int, data: bytes | memoryview) -> None:
    """Write all of `data` to an open file; the system may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def sweep_partial_files(folder: Path) -> None:
    """Remove `.partial` files of killed writers directly in `folder`, which the caller owns (see
    `Home.lock`)."""
    for leftover in folder.glob(f".*{PARTIAL_SUFFIX}"):
        leftover.unlink(missing_ok=True)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Raise DiskFull if the disk has no room for what the block writes at `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DiskFull(
            f"no room left on the disk while writing {path}",
            "Free some space, or move the home to a bigger disk with --home",
        ) from error


def _take_lock(file: int, what: str, remedy: str) -> None:
    """Take the lock. If it can be shared, only `lock_holder` calls hold it: try again."""
    while not _locks(file, fcntl.LOCK_EX):
        if not _locks(file, fcntl.LOCK_SH):
            holder = _holder_in(file) or "another one"
            raise HomeBusy(f"{what} is in use by process {holder}", remedy)


def _locks(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder_in(file: int) -> str:
    """The process id in a lock file, in digits; "" when there is none."""
    text = os.pread(file, 20, 0).decode("ascii", "replace")
    return text if text.isdecimal() else ""


def _write_new(path: Path, parts: Iterable[bytes | memoryview], mode: int, synced: bool) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        for part in parts:
            write_all(file, part)
        if synced:
            os.fsync(file)
    finally:
        os.close(file)


def _sync(path: Path) -> None:
    """Have the disk store a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
