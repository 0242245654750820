from __future__ import annotations

import asyncio
import random

import pytest

from paris_p2p.network.swarm import MAX_OWNERS
from simulator.clock import run_virtually
from simulator.network import EPOCH, REPLICAS, ClaimSwarm, Network

KEY = "key"
ONE, TWO = b"1" * 32, b"2" * 32


def pair(loss: float = 0.0) -> tuple[Network, ClaimSwarm, ClaimSwarm]:
    network = Network(random.Random(0), loss)
    return network, ClaimSwarm(network, ONE), ClaimSwarm(network, TWO)


async def values(swarm: ClaimSwarm) -> list[bytes]:
    return [entry.value for entry in await swarm.lookup(KEY)]


def test_a_record_is_read_until_it_expires_or_is_withdrawn() -> None:
    async def story() -> None:
        _, one, two = pair()
        assert await one.store(KEY, b"a", EPOCH + 60)
        assert await two.store(KEY, b"b", EPOCH + 90)
        assert await values(two) == [b"a", b"b"]
        await asyncio.sleep(60)
        assert await values(one) == [b"b"]
        await two.withdraw(KEY)
        assert await values(one) == []

    run_virtually(story())


def test_a_request_takes_time() -> None:
    async def story() -> float:
        await pair()[1].lookup(KEY)
        return asyncio.get_running_loop().time()

    assert 0 < run_virtually(story()) < 10


def test_the_sides_of_a_partition_do_not_hear_each_other_until_it_heals() -> None:
    async def story() -> None:
        network, one, two = pair()
        network.part([ONE])
        await one.store(KEY, b"a", EPOCH + 60)
        await two.store(KEY, b"b", EPOCH + 60)
        assert (await values(one), await values(two)) == ([b"a"], [b"b"])
        network.heal()
        assert await values(one) == await values(two) == [b"a", b"b"]

    run_virtually(story())


def test_a_lossy_network_loses_some_requests_and_not_all() -> None:
    async def story() -> list[int]:
        network, _, _ = pair(loss=0.2)
        return [len(network.reached(ONE, KEY)[0]) for _ in range(200)]

    assert len(set(reached := run_virtually(story()))) > 1
    assert sum(reached) / len(reached) == pytest.approx(0.8 * REPLICAS, rel=0.1)


def test_a_key_has_room_for_so_many_owners_and_the_dead_make_room() -> None:
    async def story() -> None:
        network = Network(random.Random(0))
        owners = [ClaimSwarm(network, number.to_bytes(32)) for number in range(MAX_OWNERS + 1)]
        for owner in owners[:-1]:
            assert await owner.store(KEY, b"a", EPOCH + 600)
        assert not await owners[-1].store(KEY, b"a", EPOCH + 600)
        await owners[0].withdraw(KEY)
        assert await owners[-1].store(KEY, b"a", EPOCH + 600)
        assert len(await values(owners[1])) == MAX_OWNERS

    run_virtually(story())


def test_a_crashed_peer_says_nothing_any_more() -> None:
    async def story() -> None:
        _, one, two = pair()
        one.fail()
        assert not await one.store(KEY, b"a", EPOCH + 60)
        assert await values(two) == []

    run_virtually(story())
