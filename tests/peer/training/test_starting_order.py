from __future__ import annotations

from paris_p2p.peer.training.starting_order import BRISK, PATIENT, Turns
from paris_p2p.peer.training.starting_points import PATIENCE, Start
from paris_p2p.peer.transfer.racing import StillComing, TooSlow
from tests.peer.training.test_starting_points import head

SPACING = 10
SLOW, COMING = TooSlow("nothing came"), StillComing("it comes")


def steps(turns: Turns) -> list[int]:
    found = []
    while (turn := turns.take()) is not None:
        found.append(turn.start.step)
    return found


def turns_of(*starts: int, limit: int = 0) -> Turns:
    found = [Start(step, head=head(step)) for step in starts]
    return Turns([(start, PATIENCE) for start in (*found, Start())], SPACING, limit)


def test_what_is_still_coming_goes_before_what_lies_far_behind_it() -> None:
    turns = turns_of(90, 85, 40)
    first = turns.take()
    assert first is not None and turns.put_off(first, COMING)
    assert steps(turns) == [85, 90, 40, 0]


def test_slow_liars_put_off_no_honest_start_but_once() -> None:
    turns = turns_of(98, 94, 90, 40)
    for error in (SLOW, COMING, COMING):
        turn = turns.take()
        assert turn is not None and turns.put_off(turn, error)
    assert steps(turns) == [94, 40, 98, 90, 0]


def test_nothing_is_put_off_twice() -> None:
    turns = turns_of(90)
    for is_first in (True, False):
        turn = turns.take()
        assert turn is not None and turn.least == (BRISK if is_first else PATIENT)
        assert turns.put_off(turn, COMING) is is_first


def test_no_start_has_to_come_faster_than_this_peer_lets_it() -> None:
    turns = turns_of(90, limit=1000)
    for _ in range(2):
        turn = turns.take()
        assert turn is not None and turn.least.rate == 500
        turns.put_off(turn, COMING)


def test_what_is_learned_late_is_tried_once_and_ahead_of_scratch() -> None:
    turns = turns_of(90)
    turns.take()
    assert turns.only_scratch_left
    turns.learn([(Start(step, head=head(step)), PATIENCE) for step in (95, 90)])
    assert steps(turns) == [95, 0]
