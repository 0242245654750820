"""Every error a user can meet, with its exit code.

    ParisError            1    any error without a class of its own
    ├── UsageProblem      2    a command, flag or configuration is not valid
    ├── HomeBusy          3    another process owns this home
    ├── BadContent        4    a file, record or tensor is not what it claims to be
    ├── Unreachable       5    no bootstrap answers, or no peer serves what is needed
    ├── NotAvailable      6    no peer has the run, expert or head
    ├── Held              7    the expert is held by another peer
    ├── DiskFull          8    the disk has no room left
    ├── ClockSkew         9    this machine's clock shows a time before the run was made
    ├── PortInUse        10    the port to listen on is taken
    ├── TrainingDiverged 11    the loss is no longer finite
    ├── WorkerDied       12    the training process ended without an error, or was killed
    └── Interrupted     130    the user asked to stop

Exit code 0 is success. An error's `message` says what is wrong. Its `remedy` says what to do next,
or is empty. `str()` puts both on one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar


class ParisError(Exception):
    """An error: what went wrong, in one sentence without a full stop, and what to do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        remedy = self.remedy[:1].upper() + self.remedy[1:]
        line = f"{self.message}. {remedy}" if remedy else self.message
        return " ".join(line.split())


class UsageProblem(ParisError):
    """A command, flag or configuration is not valid."""

    exit_code = 2


class HomeBusy(ParisError):
    """Another process owns this home."""

    exit_code = 3


class BadContent(ParisError):
    """A file, record or tensor is not what it claims to be."""

    exit_code = 4


class Unreachable(ParisError):
    """No bootstrap answers, or no peer serves what is needed."""

    exit_code = 5


class NotAvailable(ParisError):
    """No peer has the run, expert or head."""

    exit_code = 6


class Held(ParisError):
    """The expert is held by another peer."""

    exit_code = 7


class DiskFull(ParisError):
    """The disk has no room left."""

    exit_code = 8


class ClockSkew(ParisError):
    """This machine's clock shows a time before the run was made."""

    exit_code = 9


class PortInUse(ParisError):
    """The port to listen on is taken."""

    exit_code = 10


class TrainingDiverged(ParisError):
    """The loss is no longer finite."""

    exit_code = 11


class WorkerDied(ParisError):
    """The training process ended without an error, or was killed."""

    exit_code = 12


class Interrupted(ParisError):
    """The user asked to stop."""

    exit_code = 130


def error_with_code(exit_code: int, message: str, remedy: str = "") -> ParisError:
    """The error with this exit code, rebuilt from another process of this home."""
    known = {kind.exit_code: kind for kind in ParisError.__subclasses__()}
    return known.get(exit_code, ParisError)(message, remedy)


def error_event(error: ParisError) -> dict[str, Any]:
    """An error as another process can be told of it: see `error_from`."""
    return {
        "event": "error",
        "message": error.message,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }


def error_from(event: Mapping[str, Any]) -> ParisError:
    """The error in an error event: {"message", "remedy", "exit_code"}."""
    return error_with_code(event.get("exit_code", 1), event["message"], event.get("remedy", ""))


@contextmanager
def extra(name: str) -> Iterator[None]:
    """UsageProblem where the block imports what is installed with that extra of this package only.

    To be put around an import, in the function that needs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageProblem(
            f"this needs {error.name}, which is not installed",
            f"Run: pip install 'paris-p2p[{name}]'",
        ) from error
