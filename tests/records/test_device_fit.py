"""What a device must have to train a slot, and what it prefers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import NotAvailable
from paris_p2p.records.device_fit import (
    ENCODED_AT_MOST,
    FLOAT,
    Device,
    check_fit,
    fits,
    least_memory,
    liking,
    network_memory,
    weights,
)
from paris_p2p.records.run import ROUTER, ExpertSlot, RunManifest
from tests.records.conftest import EXAMPLES

RUN = EXAMPLES["run"]
assert isinstance(RUN, RunManifest)


def test_more_captions_need_more_memory_until_they_are_encoded_by_batch() -> None:
    needs = [least_memory(samples(train), 0) for train in (500, 1_000, 10**6, 10**9)]
    caption = 4 * RUN.text_context * RUN.text_width
    assert needs[1] - needs[0] == 500 * caption
    assert needs[3] == needs[2] == needs[0] - 500 * caption + ENCODED_AT_MOST


def samples(train: int) -> RunManifest:
    """The run with so many samples in each shard."""
    return replace(RUN, shards=tuple(replace(shard, train=train) for shard in RUN.shards))


def test_a_blind_router_keeps_no_captions() -> None:
    assert least_memory(samples(10**6), ROUTER) == least_memory(samples(10), ROUTER)
    reading = replace(RUN, router=replace(RUN.router, caption_width=RUN.text_width))
    assert least_memory(reading, ROUTER) > least_memory(RUN, ROUTER)


def test_a_wider_expert_needs_more_memory() -> None:
    wide = replace(RUN.expert, hidden=2 * RUN.expert.hidden)
    assert network_memory(RUN, wide) > 2 * network_memory(RUN, RUN.expert)


def test_the_weights_are_no_more_than_a_checkpoint_may_have() -> None:
    assert FLOAT * weights(RUN, RUN.expert) < RUN.checkpoint_limit(0)
    assert FLOAT * weights(RUN, RUN.router) < RUN.checkpoint_limit(ROUTER)


def test_no_slot_of_a_run_without_data_can_be_trained() -> None:
    bare = replace(RUN, shards=())
    assert liking(bare, 0, Device(memory=2**40, speed=0.5)) > 0
    for slot in bare.slots():
        with pytest.raises(NotAvailable, match="was imported without data"):
            check_fit(bare, slot, None)
        assert not fits(bare, slot, Device(memory=2**40))


def test_a_slot_that_does_not_fit_is_refused_and_its_need_named() -> None:
    need = least_memory(RUN, 0)
    check_fit(RUN, 0, Device(memory=need))
    check_fit(RUN, 0, None)
    with pytest.raises(NotAvailable, match=f"about {need / 2**30:.1f} GiB"):
        check_fit(RUN, 0, Device(memory=need - 1))


def mixed(objective: str = "flow") -> RunManifest:
    """The run with a large expert 0 and a small expert 1."""
    large = replace(RUN.expert, hidden=2 * RUN.expert.hidden)
    return replace(RUN, experts=(ExpertSlot(large), ExpertSlot(RUN.expert, objective)))


def test_each_expert_is_held_to_its_own_need() -> None:
    run = mixed()
    assert least_memory(run, 1) == least_memory(RUN, 1)
    assert least_memory(run, 0) > least_memory(RUN, 0)
    small = Device(memory=least_memory(run, 1))
    assert [fits(run, slot, small) for slot in (0, 1)] == [False, True]


def test_a_large_device_leaves_small_experts_to_small_ones() -> None:
    device = Device(memory=2**40)
    assert liking(mixed(), 0, device) == 4 * liking(mixed(), 1, device)


def test_an_expert_with_an_unknown_objective_fits_no_device() -> None:
    run = mixed("mean-flow")
    assert [fits(run, slot, None) for slot in (0, 1)] == [True, False]
    with pytest.raises(NotAvailable, match="expert 1 is trained with the objective 'mean-flow'"):
        check_fit(run, 1, None)
    check_fit(run, ROUTER, None)


@given(st.floats(0, 10))
def test_a_slower_device_prefers_the_smaller_shard(speed: float) -> None:
    device = Device(memory=2**40, speed=speed)
    small, large = liking(RUN, 0, device), liking(RUN, 1, device)
    assert (small > large > 0) if speed < 0.99 else small >= large > 0


def test_an_unknown_device_likes_all_alike() -> None:
    assert liking(RUN, 0, None) == liking(RUN, 1, None) == 1
