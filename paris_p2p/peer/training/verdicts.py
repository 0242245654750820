"""The consequence of a failure for the start that was tried: pure decisions.

Only a measurement of a start condemns it. A machine without memory, a full disk or a killed process
says nothing about the start. Training never begins from scratch while a start still stands: a few
seconds of trouble would throw away an hour of work.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from paris_p2p.errors import DiskFull, NotAvailable, ParisError, TrainingDiverged, WorkerDied
from paris_p2p.peer.training.starting_points import Start
from paris_p2p.peer.training.worker_handle import WorkerCrashed, WorkerFroze
from paris_p2p.peer.transfer.racing import StillComing
from paris_p2p.training.job import StartRefuted

PUBLISHED = ("published", "resume_published")


class Verdict(Enum):
    """The consequence for a start that failed."""

    ENDED = "the failure is the job's: it says nothing about the start"
    REFUTED = "the start is worthless and is never tried again"
    PASSED_OVER = "the start is of no use now: try the next one, even scratch"
    STANDING = "the start is of no use on this machine now: try another one, but not scratch"


def verdict(error: ParisError, start: Start, seen: Collection[str], online: bool) -> Verdict:
    """The verdict on `start` after an `error`, given the events `seen` in the attempt.

    A stranger's start that crashes the worker gives way to the next one, since it may be made for
    that. The own snapshot does not.
    """
    if start.is_scratch or any(event in seen for event in PUBLISHED):
        return Verdict.ENDED
    if isinstance(error, StartRefuted | TrainingDiverged):
        return Verdict.REFUTED
    if isinstance(error, StillComing):
        return Verdict.STANDING
    if isinstance(error, NotAvailable) and start.published is not None and "resuming" not in seen:
        return Verdict.PASSED_OVER if online else Verdict.STANDING
    if not isinstance(error, WorkerDied | DiskFull) or "progress" in seen:
        return Verdict.ENDED
    if start.published is None:
        return Verdict.ENDED
    return Verdict.PASSED_OVER if isinstance(error, WorkerCrashed) else Verdict.STANDING


def is_worth_another_try(error: ParisError, seen: Collection[str]) -> bool:
    """Whether to try the same start again, because this machine failed before the first step.

    A frozen process is not retried: it has used up the patience of its lease.
    """
    failed_here = isinstance(error, WorkerDied | DiskFull) and not isinstance(error, WorkerFroze)
    return failed_here and "progress" not in seen
