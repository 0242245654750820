"""What a failure says about the start that was tried: pure decisions.

Only what was measured of a start condemns it. A machine without memory, a full disk or a killed
process say nothing about it, and nothing may begin from scratch over a start that still stands: an
hour of somebody's work would be thrown away for a few seconds' trouble.
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
    """What comes of a start that failed."""

    ENDED = "the failure is the job's: it says nothing about the start"
    REFUTED = "worthless, and never to be tried again"
    PASSED_OVER = "of no use now, and in nobody's way"
    STANDING = "of no use on this machine now: another may do, but not from scratch"


def verdict(error: ParisError, start: Start, seen: Collection[str], online: bool) -> Verdict:
    """What an `error` says about `start`, after the events `seen` of the attempt.

    A stranger's start that this machine cannot get a step from gives way to the next one, since it
    may be made so; the own snapshot does not.
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
    """Whether the same start may do better in a while: this machine failed before the first step.

    A process that froze has used up its lease's patience already.
    """
    failed_here = isinstance(error, WorkerDied | DiskFull) and not isinstance(error, WorkerFroze)
    return failed_here and "progress" not in seen
