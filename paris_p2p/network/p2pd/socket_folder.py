"""Private folders for p2pd's sockets: with short paths, and removed once they are deserted.

A process that is killed leaves its folder behind. Process ids do not tell whether it still runs:
containers share /tmp and have ids of their own. So a process holds a lock in its folder, which ends
with the process; a folder whose lock is free is deserted. A folder that never got a lock is removed
by its maker, or once it is a day old, and only while nothing else is in it.

The path of a unix socket is limited to about a hundred bytes, and TMPDIR may use them up.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from paris_p2p.errors import ParisError

PREFIX = "paris-p2pd-"

SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")
"""Alternatives when the path of the system's temporary folder is too long."""

LONGEST_SOCKET = 103
"""Bytes of a unix socket's path; some systems have a few more."""

_LONGEST_NAME = len(f"/{PREFIX}4194304-abcdefgh/p2pclient-abcdefghijk.sock")
_LOCK, _UNBORN_LOCK = "lock", "lock.new"

LONGEST_BIRTH = 86400.0
"""Seconds after which a folder without a lock counts as deserted."""


class SocketFolder:
    """A folder of our own until `remove`, or until this process ends. Raises `ParisError`."""

    def __init__(self) -> None:
        base = short_base([tempfile.gettempdir(), *filter(os.path.isdir, SHORT_PLACES)])
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
            self._lock: int | None = _locked(self.path)
        except OSError as error:
            raise ParisError(
                f"cannot make a folder for libp2p's sockets: {error.strerror}",
                "Free some space there, or set TMPDIR to another folder",
            ) from error

    def remove(self) -> None:
        """Remove the folder and its contents. Safe to call twice. Never raises."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def short_base(places: Iterable[str]) -> str:
    """The first of these folders whose path leaves room for a socket's. Raises `ParisError`."""
    for place in places:
        if len(os.fsencode(place)) + _LONGEST_NAME <= LONGEST_SOCKET:
            return place
    raise ParisError(
        "the path of the folder for temporary files is too long for libp2p's sockets",
        f"Set TMPDIR to one of at most {LONGEST_SOCKET - _LONGEST_NAME} characters",
    )


def sweep(now: float) -> None:
    """Remove deserted folders, as after kill -9. Never raises.

    `now` is in seconds since the epoch.
    """
    for place in {tempfile.gettempdir(), *SHORT_PLACES}:
        with suppress(OSError):
            for folder in Path(place).glob(f"{PREFIX}*"):
                with suppress(OSError):
                    _remove_deserted(folder, now)


def _remove_deserted(folder: Path, now: float) -> None:
    """Remove one, unless its lock is held or not made yet. Raises OSError."""
    found = folder.lstat()
    if found.st_uid != os.getuid():
        return
    try:
        with (folder / _LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:
        if now - found.st_mtime > LONGEST_BIRTH:
            _remove_unborn(folder)


def _remove_unborn(folder: Path) -> None:
    """Remove a folder that never got its lock, if nothing else is in it. Opens no file, because too
    many may be open. Raises OSError."""
    (folder / _UNBORN_LOCK).unlink(missing_ok=True)
    folder.rmdir()


def _locked(folder: Path) -> int:
    """The lock of a new folder; on failure the folder is removed. Raises OSError."""
    try:
        return _lock_in(folder)
    except OSError:
        with suppress(OSError):
            _remove_unborn(folder)
        raise


def _lock_in(folder: Path) -> int:
    """A lock that is held before others can see it. Raises OSError."""
    lock = os.open(folder / _UNBORN_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / _UNBORN_LOCK).rename(folder / _LOCK)
    except OSError:
        os.close(lock)
        raise
    return lock
