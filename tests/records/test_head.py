from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.records.codec import seal
from paris_p2p.records.head import Head, best_head, ranked_heads
from paris_p2p.records.run import ROUTER

TRUSTED, STRANGER = b"t" * 32, b"s" * 32


def a_head(
    step: int, *, loss: float = 0.5, manifest: int = 0, author: bytes = TRUSTED, expert: int = 0
) -> Head:
    return Head(
        run=b"r" * 32,
        expert=expert,
        author=author,
        step=step,
        images=64 * step,
        manifest=bytes([manifest]) * 32,
        size=100,
        train_loss=loss,
        held_out_loss=loss,
        parent=None,
        created=0.0,
    )


heads = st.builds(
    a_head,
    st.integers(0, 3),
    loss=st.sampled_from([0.1, 0.2]),
    manifest=st.integers(0, 2),
    author=st.sampled_from([TRUSTED, STRANGER]),
    expert=st.integers(ROUTER, 2),
)


@given(st.lists(heads), st.randoms())
def test_the_order_of_heads_does_not_matter(seen: list[Head], rng: random.Random) -> None:
    assert best_head(rng.sample(seen, len(seen))) == best_head(seen)


@given(st.lists(heads))
def test_an_untrusted_author_counts_for_nothing(seen: list[Head]) -> None:
    trusted = [head for head in seen if head.author == TRUSTED]
    assert best_head(seen, publishers=(TRUSTED,)) == best_head(trusted)


@given(st.lists(heads))
def test_all_heads_that_count_are_ranked(seen: list[Head]) -> None:
    ranked = ranked_heads(seen, (TRUSTED,))
    assert sorted(map(repr, ranked)) == sorted(
        repr(head) for head in seen if head.author == TRUSTED
    )
    assert all(one.step >= next_one.step for one, next_one in pairwise(ranked))


@given(st.lists(heads))
def test_no_counting_head_has_more_steps_than_the_best(seen: list[Head]) -> None:
    best = best_head(seen)
    assert (best is None) == (not seen)
    if best is not None:
        assert best.step == max(head.step for head in seen)


def test_at_equal_steps_the_lower_held_out_loss_wins() -> None:
    assert best_head([a_head(7, loss=0.5), a_head(7, loss=0.4)]) == a_head(7, loss=0.4)


def test_at_equal_losses_the_lower_manifest_id_wins() -> None:
    assert best_head([a_head(7, manifest=2), a_head(7, manifest=1)]) == a_head(7, manifest=1)


def test_a_head_signed_by_another_does_not_become_the_trusted_authors(signer: Identity) -> None:
    forged = Head.unseal(seal(signer, Head.KIND, a_head(9).to_body()))
    assert best_head([forged], publishers=(TRUSTED,)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"held_out_loss": float("nan")},
        {"train_loss": -0.1},
        {"step": -1},
        {"expert": -2},
        {"parent": b"short"},
        {"size": 25 << 30},
        {"created": 1e12},
    ],
)
def test_a_head_out_of_bounds_is_refused(head: Head, changes: dict[str, object]) -> None:
    with pytest.raises(BadContent):
        replace(head, **changes)
