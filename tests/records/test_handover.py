from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent
from paris_p2p.identity import Author, Identity
from paris_p2p.records.handover import (
    MAX_CHAIN,
    Handover,
    ancestry,
    extended,
    in_force,
    lineage,
    resolve,
)
from paris_p2p.records.run import MAX_AUTHORS, RunManifest

KEYS = [Identity(bytes([number] * 32)) for number in range(MAX_CHAIN + 4)]
NAMES: list[Author] = [key.author for key in KEYS]
ALICE, BOB, CAROL, THIEF = KEYS[:4]


def handed(old: Identity, new: Identity, created: float = 1000.0) -> Handover:
    return Handover.between(old, new, created, "rotation")


def chain_of(length: int) -> list[Handover]:
    return [handed(KEYS[i], KEYS[i + 1]) for i in range(length)]


def test_a_hand_over_carries_both_signatures() -> None:
    sealed = handed(ALICE, BOB).seal(BOB)
    assert Handover.unseal(sealed) == handed(ALICE, BOB)


def test_the_old_key_alone_cannot_push_its_name_on_anybody() -> None:
    with pytest.raises(BadContent, match="signed by its author"):
        handed(ALICE, BOB).seal(ALICE)


def test_the_new_key_alone_cannot_take_a_name() -> None:
    with pytest.raises(BadContent, match="consent"):
        replace(handed(THIEF, BOB), old=ALICE.author)


@pytest.mark.parametrize(
    "change", [{"author": CAROL.author}, {"created": 1001.0}, {"reason": "another"}]
)
def test_consent_is_to_this_hand_over_only(change: dict[str, object]) -> None:
    with pytest.raises(BadContent, match="consent"):
        replace(handed(ALICE, BOB), **change)  # type: ignore[arg-type]


def test_a_key_is_not_handed_over_to_itself() -> None:
    with pytest.raises(BadContent, match="itself"):
        handed(ALICE, ALICE)


def test_an_author_without_hand_overs_signs_for_itself() -> None:
    assert resolve(ALICE.author, [handed(BOB, CAROL)]) == ALICE.author


@given(st.integers(0, MAX_CHAIN), st.randoms(use_true_random=False))
def test_a_chain_leads_to_its_end_in_whatever_order_it_is_seen(
    length: int, rng: random.Random
) -> None:
    chain = chain_of(length)
    rng.shuffle(chain)
    assert lineage(ALICE.author, chain) == tuple(NAMES[: length + 1])


def test_a_chain_that_is_too_long_is_followed_only_so_far() -> None:
    chain = chain_of(MAX_CHAIN + 3)
    assert lineage(ALICE.author, chain) == tuple(NAMES[: MAX_CHAIN + 1])
    assert len(ancestry(KEYS[MAX_CHAIN + 3].author, chain)) == MAX_CHAIN


def test_a_circle_ends_where_it_would_close() -> None:
    circle = [handed(ALICE, BOB), handed(BOB, CAROL), handed(CAROL, ALICE)]
    assert resolve(ALICE.author, circle) == CAROL.author
    assert len(ancestry(ALICE.author, circle)) == 3


def test_a_way_back_into_the_line_is_a_contest_too() -> None:
    seen = [handed(ALICE, BOB), handed(BOB, ALICE), handed(BOB, THIEF)]
    assert resolve(ALICE.author, seen) == BOB.author


def test_nobody_inherits_a_contested_key_however_it_is_dated() -> None:
    owner, thief = handed(ALICE, BOB, created=1000.0), handed(ALICE, THIEF, created=1.0)
    assert resolve(ALICE.author, [owner, thief]) == ALICE.author
    assert resolve(ALICE.author, [owner, owner, handed(ALICE, BOB, created=5.0)]) == BOB.author


def test_a_contest_does_not_reach_back_before_it() -> None:
    seen = [handed(ALICE, BOB), handed(BOB, CAROL), handed(BOB, THIEF)]
    assert lineage(ALICE.author, seen) == (ALICE.author, BOB.author)


def test_a_list_stands_for_its_authors_and_their_heirs_once_each() -> None:
    seen = [handed(ALICE, BOB), handed(BOB, CAROL)]
    listed = (ALICE.author, BOB.author, THIEF.author)
    assert extended(listed, seen) == (*NAMES[:3], THIEF.author)
    assert extended((), seen) == ()


def test_the_hand_overs_that_led_to_an_author() -> None:
    first, second = handed(ALICE, BOB), handed(BOB, CAROL)
    assert ancestry(CAROL.author, [second, first, handed(CAROL, THIEF)]) == (first, second)
    assert ancestry(ALICE.author, [first]) == ()


def test_in_a_runs_lists_heirs_count_like_those_before_them(run: RunManifest) -> None:
    closed = replace(run, members=(ALICE.author, THIEF.author), trusted_authors=(ALICE.author,))
    now = in_force(closed, [handed(ALICE, BOB)])
    assert now.members == (ALICE.author, BOB.author, THIEF.author)
    assert now.trusted_authors == (ALICE.author, BOB.author)


def test_the_members_publish_where_nobody_in_particular_does(run: RunManifest) -> None:
    closed = replace(run, members=(ALICE.author,), trusted_authors=())
    assert in_force(closed, []).trusted_authors == (ALICE.author,)


def test_an_open_run_stays_open(run: RunManifest) -> None:
    opened = replace(run, trusted_authors=())
    assert in_force(opened, [handed(ALICE, BOB)]) == opened


def test_full_lists_have_no_room_for_heirs(run: RunManifest) -> None:
    crowd = (ALICE.author, *(number.to_bytes(32, "big") for number in range(1, MAX_AUTHORS)))
    closed = replace(run, members=crowd, trusted_authors=crowd)
    now = in_force(closed, [handed(ALICE, BOB)])
    assert len(now.members) == MAX_AUTHORS and set(now.trusted_authors) <= set(now.members)
