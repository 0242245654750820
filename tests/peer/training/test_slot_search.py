"""The places and times of a claimant's looks, with made-up times."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.peer.training.slot_search import CONTEST_DOUBLES, FALLOW, MOST_DOUBLINGS, SlotSearch
from paris_p2p.records.claim import (
    FIRST_WAIT,
    LEASE,
    LONGEST_WAIT,
    RENEW,
    SAMPLE,
    SlotState,
    longest_wait,
)
from tests.records.test_claim import NOW, a_claim, incumbent


def slot_search(slots: int = 64, seed: int = 0) -> SlotSearch:
    return SlotSearch(range(slots), random.Random(seed))


@given(st.integers(1, 200), st.integers(0, 99))
def test_every_slot_is_seen_once_a_round(slots: int, seed: int) -> None:
    view = slot_search(slots, seed)
    seen: list[int] = []
    while not view.complete or not seen:
        seen += view.next_slots(NOW)
    assert sorted(seen) == list(range(slots))


def test_peers_do_not_look_at_the_same_slots() -> None:
    first = {tuple(slot_search(seed=seed).next_slots(NOW)) for seed in range(20)}
    assert len(first) == 20


def test_a_familiar_slot_is_always_looked_at() -> None:
    view = slot_search(512)
    for _ in range(5):
        assert view.next_slots(NOW, familiar=[7])[0] == 7


def patient(peers: int) -> SlotSearch:
    """One that has waited long among so many peers."""
    view = slot_search(8)
    for _ in range(12):
        view.pause(NOW, peers)
    return view


FAILING = SlotState(7, incumbent(1, left=25.0), None)


def test_who_waits_alone_is_there_when_a_failing_lease_lapses() -> None:
    view = patient(peers=9)
    view.note([FAILING], NOW)
    pause = view.pause(NOW, peers=9)
    assert pause <= 25.0 + RENEW
    assert view.next_slots(NOW + 25.0 + RENEW) == [7]


def test_of_a_crowd_few_come_back() -> None:
    returning = 0
    for _ in range(1000):
        view = patient(peers=10_000)
        view.note([FAILING], NOW)
        returning += view.next_slots(NOW + 25.0) == [7]
    assert returning < 200


def test_a_lease_that_was_renewed_after_all_is_forgotten() -> None:
    view = patient(peers=9)
    view.note([FAILING], NOW)
    view.note([SlotState(7, incumbent(1, left=LEASE), None)], NOW)
    assert view.next_slots(NOW + 25.0) != [7]


@given(st.integers(0, 10**6), st.integers(1, 4096), st.integers(0, 99))
def test_waits_grow_up_to_a_limit(peers: int, slots: int, seed: int) -> None:
    view = slot_search(slots, seed)
    waits = [view.pause(NOW, peers) for _ in range(12)]
    assert FIRST_WAIT / 2 <= waits[0] <= FIRST_WAIT
    assert longest_wait(peers, slots) / 2 <= waits[-1] <= longest_wait(peers, slots)
    assert max(waits) <= LONGEST_WAIT


def contests(
    states: list[SlotState], later: float, looks: int = 2000, peers: int = 8
) -> list[int | None]:
    view = slot_search(8)
    view.note(states, NOW)
    return [view.contested(states, NOW + later, peers) for _ in range(looks)]


STEPLESS = SlotState(3, a_claim(1), None)


def test_a_slot_that_makes_no_step_for_long_is_taken_up_despite_its_claim() -> None:
    assert set(contests([STEPLESS], FALLOW - 1)) == {None}
    few = contests([STEPLESS], FALLOW + 1, looks=2000)
    assert 0 < few.count(3) < len(few) / 10
    assert set(contests([STEPLESS], FALLOW + MOST_DOUBLINGS * CONTEST_DOUBLES)) == {3}


def test_of_a_crowd_fewer_take_it_up_at_once() -> None:
    alone, crowded = (contests([STEPLESS], FALLOW + LEASE, peers=peers) for peers in (9, 160))
    assert 0 < 5 * crowded.count(3) < alone.count(3)
    assert set(contests([STEPLESS], FALLOW + MOST_DOUBLINGS * CONTEST_DOUBLES, peers=160)) == {3}


def test_a_slot_that_advances_is_never_contested() -> None:
    assert set(contests([SlotState(3, incumbent(1), None)], 10 * FALLOW)) == {None}


def test_one_step_seen_in_between_starts_the_count_again() -> None:
    view = slot_search(8)
    view.note([STEPLESS], NOW)
    view.note([SlotState(3, incumbent(1), None)], NOW + 1)
    view.note([STEPLESS], NOW + FALLOW)
    later = NOW + FALLOW + LEASE
    assert {view.contested([STEPLESS], later, peers=8) for _ in range(100)} == {None}


def test_claims_under_ever_new_keys_do_not_make_a_slot_any_younger() -> None:
    view = slot_search(8)
    for age in range(0, int(FALLOW), int(RENEW)):
        view.note([SlotState(3, a_claim(age), None)], NOW + age)
    later = NOW + FALLOW + MOST_DOUBLINGS * CONTEST_DOUBLES
    assert {view.contested([STEPLESS], later, peers=8) for _ in range(10)} == {3}


def test_slots_without_steps_stay_in_sight() -> None:
    view = slot_search(4096)
    view.note([STEPLESS], NOW)
    assert all(3 in view.next_slots(NOW + FALLOW) for _ in range(10))
    view.note([SlotState(i, a_claim(1), None) for i in range(4096)], NOW)
    assert len(view.next_slots(NOW + FALLOW)) <= 2 * SAMPLE


def test_a_clock_that_is_set_back_does_not_stop_the_count() -> None:
    view, back = slot_search(8), NOW - 86_400
    view.note([STEPLESS], NOW)
    for age in range(0, int(FALLOW) + 1, int(RENEW)):
        view.note([STEPLESS], back + age)
    later = back + FALLOW + MOST_DOUBLINGS * CONTEST_DOUBLES
    assert {view.contested([STEPLESS], later, peers=8) for _ in range(10)} == {3}
