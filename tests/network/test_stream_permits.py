"""A peer with many permits yields to peers with none, first to those from other networks."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.identity import Identity
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkClient, ChunkServer, ProviderBusy
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.stream_permits import RESTED, StreamPermit, StreamPermits, displaced
from paris_p2p.records.manifest import content_id

CHUNK = b"chunk"


class FakeStream:
    def __init__(self, author: bytes) -> None:
        self.author = author
        self.closed = False

    async def close(self) -> None:
        self.closed = True


def stream_of(name: str) -> FakeStream:
    """A stream of the author `name`, who lives in the network of its first letter."""
    return FakeStream(name.encode())


async def first_letter(author: bytes) -> str:
    return author[:1].decode()


async def fill(permits: StreamPermits, *names: str) -> list[FakeStream]:
    streams = [stream_of(name) for name in names]
    for stream in streams:
        assert await permits.take(stream) is not None
    return streams


def still_served(streams: list[FakeStream]) -> list[str]:
    return [stream.author.decode() for stream in streams if not stream.closed]


async def test_many_identities_of_one_network_give_way_to_another_one_by_one() -> None:
    permits = StreamPermits(8, 4, first_letter)
    sybils = await fill(permits, *(f"s{number}" for number in range(8)))
    for number in range(1, 5):
        assert await permits.take(stream_of(f"h{number}")) is not None
        assert len(still_served(sybils)) == 8 - number
    assert await permits.take(stream_of("h5")) is None
    assert await permits.take(stream_of("s9")) is None


async def test_within_a_network_who_has_many_gives_way() -> None:
    permits = StreamPermits(4, 4, first_letter)
    streams = await fill(permits, "a1", "a1", "a1", "a2")
    assert await permits.take(stream_of("a3")) is not None
    assert still_served(streams) == ["a1", "a1", "a2"]
    assert await permits.take(stream_of("a4")) is not None
    assert still_served(streams) == ["a1", "a2"]
    assert await permits.take(stream_of("a5")) is None


async def test_who_has_all_that_one_may_have_displaces_nobody() -> None:
    permits = StreamPermits(5, 2, first_letter)
    streams = await fill(permits, "a1", "a1", "b1", "b2", "b3")
    assert await permits.take(stream_of("a1")) is None
    assert len(still_served(streams)) == 5


async def test_who_rests_gives_way_to_who_has_none_only() -> None:
    now = 0.0
    permits = StreamPermits(2, 2, first_letter, clock=lambda: now)
    streams = await fill(permits, "a1", "b1")
    for permit in list(permits._taken):
        permits.rest(permit, True)
    now = RESTED / 2
    assert await permits.take(stream_of("c1")) is None
    now = RESTED
    assert await permits.take(stream_of("b1")) is None
    assert await permits.take(stream_of("c1")) is not None
    assert len(still_served(streams)) == 1


async def test_of_few_authors_one_that_rests_gives_all_its_places() -> None:
    now = 0.0
    permits = StreamPermits(8, 4, first_letter, most_authors=2, clock=lambda: now)
    streams = await fill(permits, "a1", "a1", "b1")
    resting, half_resting, busy = permits._taken
    permits.rest(resting, True)
    now = RESTED
    assert await permits.take(stream_of("c1")) is None
    permits.rest(half_resting, True)
    now = 2 * RESTED
    assert await permits.take(stream_of("c1")) is not None
    assert still_served(streams) == ["b1"]
    assert busy in permits._taken


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=64), st.integers())
def test_taking_turns_ends(arrivals: list[tuple[int, int]], seed: int) -> None:
    """A place is only taken from who still has as many without it: nobody swaps for ever."""
    names = [f"{'abcd'[network]}{author}".encode() for network, author in arrivals]
    networks = {name: name[:1].decode() for name in names} | {b"a0": "a"}
    taken = [StreamPermit(name, FakeStream(name)) for name in names[:8]]
    author = random.Random(seed).choice([b"a0", *names])
    groups = [[permit] for permit in taken]
    (gone,) = displaced(groups, author, networks, 0.0) or [None]
    if gone is None:
        return
    before = Counter(networks[permit.author] for permit in taken)
    mine, theirs = networks[author], networks[gone.author]
    assert theirs == mine or before[theirs] > before[mine] + 1
    assert before[theirs] == max(before.values()) or theirs == mine


async def ask(peer: MemorySwarm, server: MemorySwarm) -> ChunkClient:
    client = ChunkClient(await peer.open(server.author, CHUNK_PROTOCOL, server.addresses()))
    await client.request([content_id(CHUNK)])
    await client.receive()
    return client


async def test_idle_streams_of_many_identities_keep_nobody_from_chunks() -> None:
    now = 0.0

    async def read(author: bytes, chunk: bytes) -> bytes:
        return CHUNK

    network = MemoryNetwork()
    server, honest, *sybils = (network.join(Identity.generate().author) for _ in range(10))
    chunks = ChunkServer(read, network_of=server.network_of, clock=lambda: now)
    await server.serve(CHUNK_PROTOCOL, chunks)
    for sybil in sybils:
        for _ in range(8):
            await ask(sybil, server)
    with pytest.raises(ProviderBusy):
        await ask(sybils[0], server)
    now = RESTED
    await ask(honest, server)
    for peer in (server, honest, *sybils):
        await peer.close()
