from __future__ import annotations

from pathlib import Path

import pytest

from paris_p2p.errors import (
    BadContent,
    DiskFull,
    NotAvailable,
    ParisError,
    TrainingDiverged,
    WorkerDied,
)
from paris_p2p.peer.training.starting_points import Start
from paris_p2p.peer.training.verdicts import Verdict, is_worth_another_try, verdict
from paris_p2p.peer.training.worker_handle import WorkerCrashed, WorkerFroze
from paris_p2p.peer.transfer.racing import StillComing, TooSlow
from paris_p2p.training.job import StartRefuted
from tests.peer.training.test_starting_points import head, resume

ENDED, REFUTED, PASSED_OVER, STANDING = Verdict
SCRATCH, OWN = Start(), Start(40, snapshot=Path("snapshot-000000040.safetensors"))
STATE, HEAD = Start(40, resume=resume(40)), Start(40, head=head(40))


@pytest.mark.parametrize("start", [OWN, STATE, HEAD], ids=str)
@pytest.mark.parametrize("error", [StartRefuted("tensor x"), TrainingDiverged("it climbs")])
def test_only_what_was_measured_of_a_start_condemns_it(start: Start, error: ParisError) -> None:
    assert verdict(error, start, {"resuming", "progress"}, online=True) is REFUTED
    assert verdict(error, start, {"resuming", "published"}, online=True) is ENDED
    assert verdict(error, SCRATCH, {"resuming"}, online=True) is ENDED
    assert not is_worth_another_try(error, {"resuming"})


@pytest.mark.parametrize(
    ("error", "start", "said"),
    [
        (WorkerDied("killed"), OWN, ENDED),
        (WorkerDied("killed"), STATE, STANDING),
        (WorkerDied("killed"), HEAD, STANDING),
        (DiskFull("no room"), HEAD, STANDING),
        (WorkerFroze("silent"), STATE, STANDING),
        (WorkerCrashed("SIGSEGV"), OWN, ENDED),
        (WorkerCrashed("SIGSEGV"), STATE, PASSED_OVER),
        (BadContent("the shard is damaged"), STATE, ENDED),
        (BadContent("the shard is damaged"), OWN, ENDED),
    ],
)
def test_a_fault_of_this_machine_condemns_nothing(
    error: ParisError, start: Start, said: Verdict
) -> None:
    assert verdict(error, start, {"resuming", "checking"}, online=True) is said
    assert verdict(error, start, {"resuming", "progress"}, online=True) is ENDED


def test_what_cannot_be_fetched_gives_way_unless_it_is_this_peer_that_is_offline() -> None:
    error = NotAvailable("no peer serves it")
    assert verdict(error, HEAD, set(), online=True) is PASSED_OVER
    assert verdict(error, HEAD, set(), online=False) is STANDING
    assert verdict(TooSlow("a trickle"), HEAD, set(), online=True) is PASSED_OVER
    assert verdict(StillComing("a slow line"), HEAD, set(), online=True) is STANDING
    assert verdict(error, OWN, set(), online=True) is ENDED
    assert verdict(error, HEAD, {"resuming"}, online=True) is ENDED


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (WorkerDied("killed"), True),
        (WorkerCrashed("SIGSEGV"), True),
        (DiskFull("no room"), True),
        (WorkerFroze("silent"), False),
        (NotAvailable("nobody"), False),
        (BadContent("the shard"), False),
    ],
)
def test_the_same_start_is_tried_again_before_its_first_step_only(
    error: ParisError, again: bool
) -> None:
    assert is_worth_another_try(error, {"resuming"}) is again
    assert not is_worth_another_try(error, {"resuming", "progress"})
