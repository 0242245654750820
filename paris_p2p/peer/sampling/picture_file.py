"""The file that a picture goes to. It is checked before any work is done.

The target is a regular file, or does not exist yet. A link is followed and stays. Devices, pipes
and folders are refused: the file is put in place by renaming, which would replace them.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from paris_p2p.errors import DiskFull, ParisError, UsageProblem
from paris_p2p.files import PARTIAL_SUFFIX, write_atomically

NEW_MODE = 0o644
REMEDY = "choose another -o"


class PictureFile:
    """A writable place for one picture. UsageProblem if it is not writable.

    Missing parent folders are created. An existing file is replaced and keeps its mode.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._target = path.resolve()
            self._mode = _mode_of(path)
            _try_to_write(self._target)
        except (OSError, RuntimeError) as error:
            raise _cannot_write(path, error) from error

    def write(self, data: bytes) -> None:
        """Write `data`. If that fails, write it elsewhere and name that place in the error."""
        try:
            self._put(data)
        except OSError as error:
            raise _with_rescue(_cannot_write(self.path, error), data) from error
        except DiskFull as error:
            raise _with_rescue(error, data) from error

    def _put(self, data: bytes) -> None:
        write_atomically(self._target, data, mode=NEW_MODE if self._mode is None else self._mode)
        if self._mode is not None:
            self._target.chmod(self._mode)


def _mode_of(path: Path) -> int | None:
    """The mode of a regular file that may be replaced; None if there is no file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageProblem(f"cannot write a picture to {path}: it is {kind}", REMEDY)
    if not os.access(path, os.W_OK):
        raise UsageProblem(f"cannot write {path}: it is write-protected", REMEDY)
    return stat.S_IMODE(mode)


def _try_to_write(target: Path) -> None:
    """Create and remove the partial file beside the target. OSError if that fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    aside.unlink()


def _cannot_write(path: Path, error: Exception) -> UsageProblem:
    reason = error.strerror if isinstance(error, OSError) else None
    return UsageProblem(f"cannot write {path}: {reason or error}", REMEDY)


def _with_rescue(error: ParisError, data: bytes) -> ParisError:
    """The error, with the place where the picture is instead."""
    elsewhere = _rescued(data, (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())))
    where = f"the picture is in {elsewhere}" if elsewhere else "the picture is lost"
    return type(error)(f"{error.message}; {where}", error.remedy)


def _rescued(data: bytes, folders: Iterable[Callable[[], Path]]) -> Path | None:
    """A new file with `data` in the first writable folder; None if none is writable."""
    for folder in folders:
        with suppress(OSError, RuntimeError, DiskFull):
            path = folder() / f"paris-{secrets.token_hex(4)}.png"
            write_atomically(path, data, mode=NEW_MODE)
            return path
    return None
