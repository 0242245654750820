"""Private folders for p2pd's sockets: short enough, and swept away once nobody lives there.

A process that is killed leaves its folder behind. Process ids do not tell whether it still runs:
containers share /tmp and have ids of their own. So whoever lives in a folder holds a lock in it,
which ends with the process; what can be locked is deserted. A folder that never got a lock is
removed by who made it, or once it is a day old, and only while nothing is in it.

The path of a unix socket may have about a hundred bytes, and TMPDIR may use them up.
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
"""Where to go when the system's place for temporary files has too long a name."""

LONGEST_SOCKET = 103
"""Bytes of a unix socket's path; some systems have a few more."""

_LONGEST_NAME = len(f"/{PREFIX}4194304-abcdefgh/p2pclient-abcdefghijk.sock")
_LOCK, _UNBORN_LOCK = "lock", "lock.new"

LONGEST_BIRTH = 86400.0
"""Seconds after which a folder without a lock will not get one any more."""


class SocketFolder:
    """A folder that is ours until `remove`, or until this process ends. Raises `ParisError`."""

    def __init__(self) -> None:
        base = short_base([tempfile.gettempdir(), *filter(os.path.isdir, SHORT_PLACES)])
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
            self._lock: int | None = _locked(self.path)
        except OSError as error:
            raise ParisError(
                f"cannot make a folder for libp2p's sockets: {error.strerror}",
                "Free some space there, or name another folder in TMPDIR",
            ) from error

    def remove(self) -> None:
        """Remove the folder and what is in it. Safe to call twice. Never raises."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def short_base(places: Iterable[str]) -> str:
    """The first of these folders whose name leaves room for a socket's. Raises `ParisError`."""
    for place in places:
        if len(os.fsencode(place)) + _LONGEST_NAME <= LONGEST_SOCKET:
            return place
    raise ParisError(
        "the path of the folder for temporary files is too long for libp2p's sockets",
        f"Name one of at most {LONGEST_SOCKET - _LONGEST_NAME} characters in TMPDIR",
    )


def sweep(now: float) -> None:
    """Remove the folders that nobody lives in any more, as after kill -9. Never raises.

    `now` is in seconds since the epoch.
    """
    for place in {tempfile.gettempdir(), *SHORT_PLACES}:
        with suppress(OSError):
            for folder in Path(place).glob(f"{PREFIX}*"):
                with suppress(OSError):
                    _remove_deserted(folder, now)


def _remove_deserted(folder: Path, now: float) -> None:
    """Remove one, unless its lock is held, or not there yet. Raises OSError."""
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
    """Remove a folder that never got its lock: nothing else is in it. Opens no file, as there may
    be too many open ones. Raises OSError."""
    (folder / _UNBORN_LOCK).unlink(missing_ok=True)
    folder.rmdir()


def _locked(folder: Path) -> int:
    """The lock of a new folder, which does not outlive a failure. Raises OSError."""
    try:
        return _lock_in(folder)
    except OSError:
        with suppress(OSError):
            _remove_unborn(folder)
        raise


def _lock_in(folder: Path) -> int:
    """A lock that is held from the moment that others can see it. Raises OSError."""
    lock = os.open(folder / _UNBORN_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / _UNBORN_LOCK).rename(folder / _LOCK)
    except OSError:
        os.close(lock)
        raise
    return lock
