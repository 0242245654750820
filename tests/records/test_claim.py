from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent
from paris_p2p.records.claim import (
    CLOCK_TOLERANCE,
    FASTEST,
    GRACE,
    LEASE,
    LONGEST_STALL,
    LONGEST_WAIT,
    OVERDUE,
    RENEW,
    SAMPLE,
    SETTLE,
    SHORTEST_STALL,
    STALE_HEAD,
    STALL_STEPS,
    Claim,
    Evidence,
    SlotState,
    choose_expert,
    claim_winner,
    is_advancing,
    is_failing,
    longest_wait,
)
from paris_p2p.records.head import Head

NOW = 100_000_000.0
ME = b"m" * 32


def a_claim(
    author: int | bytes, *, age: float = 1.0, gained: int = 0, idle: float = 0.0, left: float = 30.0
) -> Claim:
    """Seen at NOW: begun `age` seconds ago, `gained` steps since, the last `idle` seconds ago."""
    since = NOW - age
    return Claim(
        run=b"r" * 32,
        expert=0,
        author=author if isinstance(author, bytes) else author.to_bytes(32, "big"),
        term=1,
        since=since,
        start_step=100,
        step=100 + gained,
        progressed=max(since, NOW - idle) if gained else since,
        expires=NOW + left,
    )


def incumbent(author: int, **changes: float) -> Claim:
    return a_claim(author, **{"age": 300.0, "gained": 50, **changes})


claims = st.builds(
    a_claim,
    st.integers(0, 2**40),
    age=st.floats(-2 * CLOCK_TOLERANCE, 2 * LONGEST_STALL),
    gained=st.integers(0, 3),
    idle=st.floats(0, 2 * LONGEST_STALL),
    left=st.floats(-LEASE, 2 * LEASE),
)
newcomers = st.builds(
    a_claim, st.integers(10, 2**40), age=st.floats(0, GRACE - 1), left=st.floats(1, LEASE)
)


@given(st.lists(claims), st.randoms())
def test_the_order_of_claims_does_not_matter(seen: list[Claim], rng: random.Random) -> None:
    shuffled = rng.sample(seen, len(seen))
    assert claim_winner(shuffled, NOW) == claim_winner(seen, NOW)


@given(st.lists(claims))
def test_the_winner_is_one_of_the_claims_and_alive(seen: list[Claim]) -> None:
    winner = claim_winner(seen, NOW)
    if winner is not None:
        assert winner in seen
        assert winner.expires > NOW


@given(st.lists(claims, min_size=1))
def test_removing_a_loser_changes_nothing(seen: list[Claim]) -> None:
    winner = claim_winner(seen, NOW)
    for loser in seen:
        if loser != winner:
            assert claim_winner([claim for claim in seen if claim != loser], NOW) == winner


@given(st.lists(newcomers))
def test_newcomers_never_unseat_whoever_advances(rivals: list[Claim]) -> None:
    holder = incumbent(1)
    assert claim_winner([*rivals, holder], NOW) == holder


@given(st.lists(newcomers, min_size=1))
def test_the_lowest_ticket_wins_among_newcomers(rivals: list[Claim]) -> None:
    winner = claim_winner(rivals, NOW)
    assert winner is not None
    assert winner.ticket == min(claim.ticket for claim in rivals)


@given(newcomers, st.floats(0, 2 * GRACE))
def test_backdating_wins_nothing(claim: Claim, earlier: float) -> None:
    rival = a_claim(5)
    backdated = replace(claim, since=claim.since - earlier, progressed=claim.progressed - earlier)
    winner = claim_winner([backdated, rival], NOW)
    assert winner is not None
    if winner == backdated:
        honest = claim_winner([claim, rival], NOW)
        assert honest is not None and honest.author == claim.author


@given(st.lists(claims, min_size=1), st.floats(0, 2 * LONGEST_STALL))
def test_a_lease_that_neither_renews_nor_advances_never_comes_back(
    seen: list[Claim], later: float
) -> None:
    winner = claim_winner(seen, NOW)
    if winner is not None and winner.lapses <= NOW + later:
        assert winner != claim_winner(seen, NOW + later)


@given(claims)
def test_no_field_buys_more_time_than_the_longest_stall(claim: Claim) -> None:
    winner = claim_winner([claim], NOW)
    assert winner is None or NOW - claim.progressed < LONGEST_STALL
    assert winner is None or claim.gained or NOW - claim.since < GRACE


def test_nobody_holds_an_unclaimed_expert() -> None:
    assert claim_winner([], NOW) is None


def test_of_several_who_advance_the_one_with_far_more_steps_wins() -> None:
    few, many = incumbent(1, gained=10), incumbent(2, gained=20)
    assert claim_winner([few, many], NOW) == many


@given(st.integers(1, 2**20), st.integers(1, 2**20), st.integers(0, 30), st.integers(0, 30))
def test_of_two_that_advance_not_both_believe_to_have_won(
    one: int, other: int, lag: int, more: int
) -> None:
    """Each knows its own newest step, and an older one of the other. In the long run, only one."""
    at_one = [incumbent(1, gained=one), incumbent(2, gained=max(1, other - lag))]
    at_other = [incumbent(1, gained=max(1, one - more)), incumbent(2, gained=other)]
    winners = {claim_winner(at_one, NOW), claim_winner(at_other, NOW)} - {None}
    authors = {winner.author for winner in winners if winner}
    same_size = {claim.gained.bit_length() for claim in [*at_one, *at_other]}
    if len(same_size) == 1:
        assert len(authors) == 1


NOT_HOLDING = {
    "expired": incumbent(1, left=0.0),
    "begun in the future": a_claim(1, age=-CLOCK_TOLERANCE - 1),
    "longer than a lease": incumbent(1, left=LEASE + CLOCK_TOLERANCE + 1),
    "renewed without a first step": a_claim(1, age=GRACE),
    "renewed without a new step": incumbent(1, gained=300, idle=SHORTEST_STALL),
    "slow without end": incumbent(1, gained=1, age=2 * LONGEST_STALL, idle=LONGEST_STALL),
    "advanced in the future": incumbent(1, idle=-CLOCK_TOLERANCE - 1),
}


@pytest.mark.parametrize("claim", NOT_HOLDING.values(), ids=NOT_HOLDING.keys())
def test_a_claim_that_does_not_hold_is_ignored(claim: Claim) -> None:
    assert claim_winner([claim], NOW) is None


NOT_INCUMBENT = {
    "has made no step": {"gained": 0},
    "has not settled": {"age": SETTLE},
}


@pytest.mark.parametrize("changes", NOT_INCUMBENT.values(), ids=NOT_INCUMBENT.keys())
def test_who_does_not_advance_competes_by_ticket(changes: dict[str, float]) -> None:
    idler = incumbent(1, **changes)
    rivals = [a_claim(author) for author in range(2, 40)]
    lowest = min([idler, *rivals], key=lambda claim: claim.ticket)
    assert lowest != idler
    assert claim_winner([idler, *rivals], NOW) == lowest


def test_a_slow_device_has_time_for_so_many_of_its_own_steps() -> None:
    pace = 2 * SHORTEST_STALL / STALL_STEPS
    slow = incumbent(1, gained=100, age=100 * pace + SHORTEST_STALL, idle=SHORTEST_STALL)
    assert claim_winner([slow], NOW) == slow
    assert slow.lapses == slow.expires
    assert replace(slow, expires=NOW + LONGEST_STALL).lapses == pytest.approx(
        slow.progressed + STALL_STEPS * pace
    )


def test_a_lease_advances_once_it_has_settled_and_has_steps_to_show() -> None:
    assert is_advancing(incumbent(1), NOW)
    assert not is_advancing(incumbent(1, gained=0), NOW)
    assert not is_advancing(incumbent(1, age=SETTLE), NOW)


def test_a_lease_fails_when_it_missed_a_renewal_or_is_about_to_stall() -> None:
    just_renewed = incumbent(1, left=LEASE - RENEW)
    assert not is_failing(just_renewed, NOW)
    assert is_failing(incumbent(1, left=LEASE - OVERDUE - 1), NOW)
    assert is_failing(incumbent(1, gained=300, left=LEASE, idle=SHORTEST_STALL - RENEW), NOW)


@given(st.integers(0, 10**6), st.integers(1, 4096))
def test_waits_are_bounded_and_grow_with_the_crowd(peers: int, clusters: int) -> None:
    wait = longest_wait(peers, clusters)
    assert RENEW <= wait <= LONGEST_WAIT
    assert peers < clusters or wait <= longest_wait(peers + 1, clusters)


def test_those_who_wait_look_less_often_the_more_they_are() -> None:
    assert longest_wait(SAMPLE + 1, SAMPLE) == RENEW
    assert longest_wait(200, 8) > 5 * RENEW


def test_a_new_term_draws_a_new_ticket() -> None:
    assert a_claim(1).ticket != replace(a_claim(1), term=2).ticket


def test_a_renewed_claim_keeps_its_ticket() -> None:
    renewed = replace(a_claim(1), expires=NOW + LEASE, step=150, progressed=NOW)
    assert renewed.ticket == a_claim(1).ticket


INTERVAL = 500
SPARE = 2 * INTERVAL + round(FASTEST * LEASE)
AUTHOR, ANOTHER = (1).to_bytes(32, "big"), (2).to_bytes(32, "big")

BELIEVED = {
    "nothing published yet, at the start of the run": ({}, 0, 40),
    "a checkpoint's steps before the first publication": ({}, 0, INTERVAL + 1),
    "from another's checkpoint": ({ANOTHER: 90_000}, 90_000, 90_300),
    "from a snapshot of its own, a little ahead": ({AUTHOR: 90_000}, 90_400, 90_700),
    "ahead of its own checkpoints as far as these lag": ({AUTHOR: 90_000}, 0, 90_000 + SPARE),
    "behind its own checkpoints": ({AUTHOR: 90_000}, 80_000, 80_010),
}
DOUBTED = {
    "invented steps": ({}, 0, 2**40),
    "an invented start": ({}, 2**40, 2**40 + 10),
    "another's checkpoints are not its own": ({ANOTHER: 90_000}, 0, 90_000),
    "just too far": ({AUTHOR: 90_000}, 0, 90_001 + SPARE),
}


def claims_steps(start: int, step: int) -> Claim:
    return replace(incumbent(1), start_step=start, step=step)


@pytest.mark.parametrize(("steps", "start", "step"), BELIEVED.values(), ids=BELIEVED.keys())
def test_a_claim_that_checkpoints_explain_counts(
    steps: dict[bytes, int], start: int, step: int
) -> None:
    claim = claims_steps(start, step)
    assert claim_winner([claim], NOW, Evidence(steps, INTERVAL)) == claim


@pytest.mark.parametrize(("steps", "start", "step"), DOUBTED.values(), ids=DOUBTED.keys())
def test_a_claim_far_ahead_of_what_is_there_weighs_nothing(
    steps: dict[bytes, int], start: int, step: int
) -> None:
    claim, honest = claims_steps(start, step), a_claim(7)
    assert claim_winner([claim], NOW, Evidence(steps, INTERVAL)) is None
    assert claim_winner([claim, honest], NOW, Evidence(steps, INTERVAL)) == honest
    assert claim_winner([claim, honest], NOW) == claim


def test_only_published_steps_of_this_lease_confirm_it() -> None:
    claim = claims_steps(1000, 1400)
    shown = {
        steps: Evidence({AUTHOR: steps}, INTERVAL).confirms(claim) for steps in (0, 1000, 1001)
    }
    assert shown == {0: False, 1000: False, 1001: True}
    assert not Evidence({ANOTHER: 1200}, INTERVAL).confirms(claim)


def test_nothing_in_a_lease_lies_ahead_of_a_clock_that_was_set_back() -> None:
    claim = incumbent(1, age=300.0, idle=10.0)
    assert claim.as_of(NOW) == claim
    back = claim.as_of(claim.since - 3600)
    assert back.since == back.progressed == claim.since - 3600
    assert (back.term, back.step) == (claim.term, claim.step)


def test_two_renewals_may_fail_before_a_lease_ends() -> None:
    assert LEASE >= 3 * RENEW


@pytest.mark.parametrize("changes", [{"step": 99}, {"progressed": 0.0}])
def test_a_claim_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadContent):
        replace(a_claim(1), **changes)


def slot(
    expert: int, step: int | None = None, holder: Claim | None = None, age: float = 0.0
) -> SlotState:
    head = None
    if step is not None:
        head = Head(
            run=b"r" * 32,
            expert=expert,
            author=b"a" * 32,
            step=step,
            images=step,
            manifest=b"m" * 32,
            size=1,
            train_loss=1.0,
            held_out_loss=1.0,
            parent=None,
            created=NOW - age,
        )
    return SlotState(expert, holder, head)


def choices(slots: list[SlotState], **liking: float) -> Counter[int | None]:
    """How often each slot is chosen, of a thousand times. `liking` is by slot_N, 1 unless given."""

    def weight(expert: int) -> float:
        return liking.get(f"slot_{expert}", 1.0)

    return Counter(
        choose_expert(slots, ME, NOW, random.Random(seed), weight) for seed in range(1000)
    )


OTHER = a_claim(1)
MINE = a_claim(ME)


def test_a_claimed_expert_is_not_chosen() -> None:
    assert set(choices([slot(0, None, OTHER), slot(1, 900)])) == {1}


def test_nothing_is_chosen_when_all_are_held() -> None:
    assert set(choices([slot(0, None, OTHER), slot(1, 5, OTHER)])) == {None}
    assert set(choices([])) == {None}


def test_an_expert_without_checkpoint_comes_first() -> None:
    assert set(choices([slot(0, 0), slot(1), slot(2, 7)])) == {1}


def test_then_those_with_few_steps_but_not_all_the_same() -> None:
    chosen = choices([slot(0, 300), slot(1, 200), slot(2, 5000)])
    assert chosen[1] > chosen[0] > 10 * chosen[2]


def test_a_stale_head_is_taken_up_sooner() -> None:
    chosen = choices([slot(0, 300, age=2 * STALE_HEAD), slot(1, 300)])
    assert chosen[0] > 1.5 * chosen[1]


def test_a_hundred_newcomers_spread() -> None:
    chosen = choices([slot(expert) for expert in range(8)])
    assert set(chosen) == set(range(8))
    assert max(chosen.values()) < 2 * 1000 / 8


def test_what_the_device_likes_is_chosen_more_often() -> None:
    chosen = choices([slot(0), slot(1)], slot_0=0.1)
    assert chosen[1] > 5 * chosen[0] > 0


def test_an_expert_of_ones_own_is_taken_up_again() -> None:
    assert set(choices([slot(0), slot(1, 900, MINE)])) == {1}


@given(
    st.lists(
        st.tuples(st.booleans(), st.none() | st.integers(0, 2**48), st.floats(0, 1e6)), max_size=8
    ),
    st.randoms(),
)
def test_a_choice_is_free_and_untouched_ones_come_first(
    states: list[tuple[bool, int | None, float]], rng: random.Random
) -> None:
    slots = [
        slot(i, step, OTHER if held else None, age) for i, (held, step, age) in enumerate(states)
    ]
    chosen = choose_expert(slots, ME, NOW, rng)
    free = {state.expert: state.head for state in slots if state.winner is None}
    if chosen is None:
        assert not free
    else:
        assert free[chosen] is None or None not in free.values()
