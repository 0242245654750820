"""What only the world in memory can do: kill, cut, and bend time on request."""

from __future__ import annotations

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.swarm import MAX_OWNERS, Stream, StreamClosed

pytestmark = pytest.mark.asyncio

ECHO = "/paris/test-echo/1"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def circle(network: MemoryNetwork, count: int) -> list[MemorySwarm]:
    peers = [network.join(Identity.generate().author) for _ in range(count)]
    for peer in peers[1:]:
        await peer.connect(peers[0].addresses()[0])
    return peers


async def echo(author: bytes, stream: Stream) -> None:
    while True:
        await stream.write(await stream.read_exactly(1))


async def values(peer: MemorySwarm, key: str = "k") -> list[bytes]:
    return [entry.value for entry in await peer.lookup(key)]


async def test_records_expire_when_the_clock_says_so() -> None:
    clock = Clock()
    one, other = await circle(MemoryNetwork(clock), 2)
    await one.store("k", b"value", clock.now + 60)
    clock.now += 59
    assert await values(other) == [b"value"]
    clock.now += 2
    assert await values(other) == []


async def test_a_clock_that_is_off_is_measured() -> None:
    network, clock = MemoryNetwork(Clock()), Clock()
    clock.now += 15
    wrong = network.join(Identity.generate().author, clock=clock)
    for peer in await circle(network, 3):
        await wrong.connect(peer.addresses()[0])
    assert await wrong.clock_skew() == pytest.approx(15)


async def test_a_dropped_peer_is_gone_and_its_records_stay() -> None:
    network = MemoryNetwork()
    one, two, three = await circle(network, 3)
    await one.store("k", b"value", network.clock() + 60)
    network.drop(one.author)
    assert two.peers() == three.peers() == 1
    assert await values(two) == [b"value"]
    with pytest.raises(Unreachable):
        await two.open(one.author, ECHO)


async def test_the_last_holder_takes_records_along() -> None:
    network = MemoryNetwork()
    one, two = await circle(network, 2)
    await one.store("k", b"value", network.clock() + 60)
    network.drop(one.author)
    network.drop(two.author)
    [late] = await circle(network, 1)
    assert await values(late) == []


async def test_a_partition_cuts_records_streams_and_heals() -> None:
    network = MemoryNetwork()
    one, two, three = await circle(network, 3)
    await two.serve(ECHO, echo)
    stream = await one.open(two.author, ECHO)
    network.partition({one.author}, {two.author, three.author})
    with pytest.raises(StreamClosed):
        await stream.read_exactly(1)
    assert not one.online()
    assert three.peers() == 1
    await one.store("k", b"one", network.clock() + 60)
    await two.store("k", b"two", network.clock() + 60)
    assert await values(one) == [b"one"]
    assert await values(three) == [b"two"]
    with pytest.raises(Unreachable):
        await one.open(two.author, ECHO)
    network.heal()
    assert sorted(await values(three)) == [b"one", b"two"]
    await (await one.open(two.author, ECHO)).close()
    for peer in (one, two, three):
        await peer.close()


async def test_swarms_that_started_apart_merge() -> None:
    network = MemoryNetwork()
    left, right = await circle(network, 2), await circle(network, 2)
    await left[0].store("k", b"left", network.clock() + 60)
    assert await values(right[1]) == []
    await left[1].connect(right[0].addresses()[0])
    assert await values(right[1]) == [b"left"]
    assert right[1].peers() == 3


async def test_a_key_holds_so_many_owners_and_no_more() -> None:
    network = MemoryNetwork()
    peers = await circle(network, MAX_OWNERS + 1)
    taken = [await peer.store("k", b"x", network.clock() + 60) for peer in peers]
    assert taken.count(False) == 1
    assert len(await peers[0].lookup("k")) == MAX_OWNERS


async def test_an_author_joins_once_at_a_time() -> None:
    network = MemoryNetwork()
    author = Identity.generate().author
    first = network.join(author)
    with pytest.raises(ValueError, match="already"):
        network.join(author)
    await first.close()
    second = network.join(author)
    await first.close()
    other = network.join(Identity.generate().author)
    await other.connect(second.addresses()[0])
