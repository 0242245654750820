from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.identity import Identity
from paris_p2p.peer.training.starting_points import (
    LAST_PATIENCE,
    LEAST_PATIENCE,
    MOST_RESUMES,
    PATIENCE,
    Start,
    claimed_loss,
    parent_of,
    starts,
    within_reach_first,
)
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume

AUTHOR, OTHER = (Identity(bytes([seed]) * 32).author for seed in (1, 2))
PREFERENCE = ["snapshot", "resume", "head", "scratch"]


def head(step: int, author: bytes = AUTHOR) -> Head:
    return Head(
        run=bytes(32),
        expert=0,
        author=author,
        step=step,
        images=2 * step,
        manifest=step.to_bytes(32),
        size=1,
        train_loss=1.0,
        held_out_loss=1.0,
        parent=None,
        created=0.0,
    )


def resume(step: int, author: bytes = AUTHOR) -> Resume:
    return Resume(
        run=bytes(32),
        expert=0,
        author=author,
        step=step,
        images=2 * step,
        manifest=step.to_bytes(32),
        size=1,
        created=0.0,
    )


def snapshot(step: int) -> Start:
    return Start(step=step, snapshot=Path(f"snapshot-{step:09d}.safetensors"))


steps = st.integers(0, 12)
SPACING = 4


@given(
    st.none() | st.builds(snapshot, steps),
    st.lists(st.builds(resume, steps), max_size=5),
    st.lists(st.builds(head, steps), max_size=5),
)
def test_the_furthest_comes_first_and_an_exact_state_before_heads_near_it(
    own: Start | None, resumes: list[Resume], heads: list[Head]
) -> None:
    found = starts([own] if own else [], resumes, heads, SPACING, {own.step} if own else set())
    assert len(found) == 1 + (own is not None) + min(len(resumes), MOST_RESUMES) + len(heads)
    assert found[-1].is_scratch
    for earlier, later in itertools.combinations(found[:-1], 2):
        if earlier.is_exact == later.is_exact:
            assert (-earlier.step, PREFERENCE.index(earlier.name)) <= (
                -later.step,
                PREFERENCE.index(later.name),
            )
        elif earlier.is_exact:
            assert later.step - earlier.step < SPACING
        else:
            assert earlier.step - later.step >= SPACING


def test_of_equals_the_order_of_trust_is_kept() -> None:
    first, second = head(7, OTHER), head(7, AUTHOR)
    assert [start.head for start in starts([], [], [first, second], 1)[:2]] == [first, second]
    assert [start.head for start in starts([], [], [second, first], 1)[:2]] == [second, first]


def test_nothing_published_and_no_snapshot_is_scratch() -> None:
    assert [start.name for start in starts([], [], [], 1)] == ["scratch"]


def test_what_nobody_serves_is_put_off_but_tried_before_scratch() -> None:
    fake, real = head(10**9), head(40)
    found = starts([snapshot(10)], [resume(10**9)], [fake, real], 1)
    ordered = within_reach_first(found, {real.manifest})
    assert [(start.name, start.step) for start, _ in ordered] == [
        ("head", 40),
        ("snapshot", 10),
        ("resume", 10**9),
        ("head", 10**9),
        ("scratch", 0),
    ]


@given(st.lists(st.builds(head, steps), max_size=20), st.sets(steps))
def test_what_is_at_hand_waits_for_nothing_and_all_else_together_not_long(
    heads: list[Head], at_hand: set[int]
) -> None:
    served = {head(step).manifest for step in at_hand}
    ordered = within_reach_first(starts([], [], heads, 1), served)
    reached = [start.head is None or start.head.manifest in served for start, _ in ordered[:-1]]
    assert reached == sorted(reached, reverse=True)
    waits = [patience for _, patience in ordered[:-1]]
    assert all(wait == PATIENCE for wait, is_here in zip(waits, reached, strict=True) if is_here)
    put_off = [wait for wait, is_here in zip(waits, reached, strict=True) if not is_here]
    assert sum(put_off) <= max(LAST_PATIENCE, LEAST_PATIENCE * len(put_off)) * 1.001
    assert all(LEAST_PATIENCE <= wait <= PATIENCE for wait in put_off)


def test_a_head_continues_the_newest_checkpoint_before_its_start() -> None:
    heads = [head(10), head(20, OTHER), head(30), head(50)]
    assert parent_of(Start(40, resume=resume(40)), heads, OTHER) == head(30).manifest
    assert parent_of(snapshot(40), heads, OTHER) == head(20, OTHER).manifest
    assert parent_of(Start(10, head=head(10)), heads, OTHER) == head(10).manifest
    assert parent_of(snapshot(5), heads, AUTHOR) is None
    assert parent_of(Start(), heads, AUTHOR) is None


def test_a_snapshot_of_which_nothing_was_published_comes_after_others_at_equal_steps() -> None:
    found = starts([snapshot(7), snapshot(5)], [resume(7), resume(5)], [], 1, published={5})
    assert [(start.name, start.step) for start in found[:4]] == [
        ("resume", 7),
        ("snapshot", 7),
        ("snapshot", 5),
        ("resume", 5),
    ]


def test_a_start_claims_what_its_author_says_of_the_same_step() -> None:
    heads = [replace(head(40), held_out_loss=0.5), head(40, OTHER), head(50)]
    assert claimed_loss(Start(40, head=heads[0]), []) == 0.5
    assert claimed_loss(Start(40, resume=resume(40)), heads) == 0.5
    assert claimed_loss(Start(30, resume=resume(30)), heads) is None
    assert claimed_loss(snapshot(40), heads) is None
    assert claimed_loss(Start(), heads) is None
