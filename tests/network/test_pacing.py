"""Rates are kept and shared equally between peers, on a clock that the tests turn."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.network.pacing import (
    BURST,
    GRAIN,
    LEAST_SHARE,
    FairQueue,
    Pacer,
    Pacers,
    paced,
    paying_bucket,
    unlimited,
)
from paris_p2p.network.swarm import Stream

RATE = 1000.0


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 2)), min_size=1, max_size=60))
def test_no_more_than_the_rate_passes(steps: list[tuple[int, float]]) -> None:
    bucket, now, passed, largest = paying_bucket(RATE, 0.0), 0.0, 0, 0
    for size, rest in steps:
        now += rest
        now += bucket.wait(now)
        bucket.spend(size, now)
        passed, largest = passed + size, max(largest, size)
    assert passed <= RATE * (now + BURST) + largest + 1e-6


def test_all_of_the_rate_may_be_used() -> None:
    bucket, now, passed = paying_bucket(RATE, 0.0), 0.0, 0
    while now < 100:
        now += bucket.wait(now) + 1e-9
        bucket.spend(100, now)
        passed += 100
    assert passed >= RATE * 99


def test_a_rest_does_not_save_up_more_than_a_burst() -> None:
    bucket = paying_bucket(RATE, 0.0)
    bucket.spend(int(RATE * BURST) + 100, 1e6)
    assert bucket.wait(1e6) == pytest.approx(0.1)


sizes = st.lists(st.integers(1, 100), min_size=30, max_size=60)


@given(st.dictionaries(st.binary(min_size=1, max_size=2), sizes, min_size=2, max_size=6))
def test_while_all_wait_none_gets_ahead(waiting: dict[bytes, list[int]]) -> None:
    queue: FairQueue[bytes] = FairQueue()
    for owner, items in waiting.items():
        for size in items:
            queue.push(owner, size, owner)
    left = {owner: len(items) for owner, items in waiting.items()}
    served: Counter[bytes] = Counter()
    while all(left.values()):
        size, owner = queue.pop()
        served[owner] += size
        left[owner] -= 1
    shares = [served[owner] for owner in waiting]
    assert max(shares) - min(shares) <= 3 * 100


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 1000))))
def test_everything_is_served_once_and_in_its_owners_order(items: list[tuple[bytes, int]]) -> None:
    queue: FairQueue[tuple[bytes, int]] = FairQueue()
    for number, (owner, size) in enumerate(items):
        queue.push(owner, size, (owner, number))
    served = [queue.pop()[1] for _ in items]
    assert Counter(owner for owner, _ in served) == Counter(owner for owner, _ in items)
    for owner in (b"a", b"b", b"c"):
        numbers = [number for who, number in served if who == owner]
        assert numbers == sorted(numbers)
    with pytest.raises(IndexError):
        queue.pop()


def test_eight_streams_get_no_more_than_one() -> None:
    """Bytes under a rate, by owner: eight streams of one peer against a single one of another."""
    queue: FairQueue[bytes] = FairQueue()
    for _ in range(8):
        queue.push(b"greedy", 50, b"greedy")
    queue.push(b"modest", 50, b"modest")
    served: Counter[bytes] = Counter()
    for _ in range(1000):
        size, owner = queue.pop()
        served[owner] += size
        queue.push(owner, size, owner)  # every stream wants to go on
    assert abs(served[b"greedy"] - served[b"modest"]) <= 100


async def test_a_peer_that_gives_up_its_turn_holds_up_nobody() -> None:
    pacer = Pacer(1e6)
    await pacer.let_pass(b"a", 250_000)
    await pacer.let_pass(b"a", 50_000)
    gone = asyncio.create_task(pacer.let_pass(b"a", 50_000))
    waiting = asyncio.create_task(pacer.let_pass(b"b", 50_000))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait_for(waiting, 20)


def test_no_more_peers_are_served_than_get_enough() -> None:
    assert Pacer(10 * LEAST_SHARE).most_peers == 10
    assert Pacer(1.0).most_peers == 1
    assert unlimited().upload.most_peers > 1e9


@pytest.mark.parametrize("limited", ["upload", "download"])
async def test_a_paced_stream_delivers_the_same_bytes_and_no_faster(limited: str) -> None:
    """200 kB at 400 kB/s: all but the burst and the last piece, which is paid for afterwards."""
    data, rate = bytes(range(200)) * 1000, 400_000
    network = MemoryNetwork()
    near, far = network.join(b"n" * 32), network.join(b"f" * 32)
    pacers = Pacers(
        Pacer(rate if limited == "upload" else None), Pacer(rate if limited == "download" else None)
    )
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def echo(author: bytes, stream: Stream) -> None:
        heard.set_result(await stream.read_exactly(len(data)))
        await stream.write(data)

    await far.serve("/paris/echo/1", echo)
    stream = paced(await near.open(far.author, "/paris/echo/1", far.addresses()), pacers)
    began = time.monotonic()
    await stream.write(data)
    assert await stream.read_exactly(len(data)) == data == await heard
    assert time.monotonic() - began >= 0.99 * (len(data) / rate - BURST - GRAIN)
    await stream.close()
    for peer in (near, far):
        await peer.close()
