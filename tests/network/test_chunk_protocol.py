"""The chunk protocol: what is asked for arrives whole, and liars are caught."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.network.chunk_protocol import (
    CHUNK_PROTOCOL,
    IDS_PER_REQUEST,
    MAX_PENDING,
    READY,
    ChunkClient,
    ChunkServer,
    LyingProvider,
    ProviderBusy,
    serve_chunks,
)
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.pacing import LEAST_SHARE, Pacer, Pacers
from paris_p2p.network.swarm import Handler, Stream, StreamClosed
from paris_p2p.records.manifest import CHUNK_SIZE, content_id
from tests.network.worlds import LibP2PWorld, eventually

pytestmark = pytest.mark.asyncio

Visit = Callable[[Handler], Awaitable[ChunkClient]]

INTERESTING_SIZES = [
    0,  # nothing at all
    1,
    65_535,  # around the length of a read that goes straight to where it is wanted
    65_536,
    65_537,
    262_145,  # more than one piece of a chunk
    CHUNK_SIZE - 1,
    CHUNK_SIZE,
]


class Shop:
    """Chunks to serve, and how they were asked for."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = {content_id(chunk): chunk for chunk in chunks}
        self.readers: set[bytes] = set()
        self.reading = 0
        self.most_reading = 0

    @property
    def ids(self) -> list[bytes]:
        return list(self.chunks)

    async def read(self, chunk_id: bytes) -> bytes | None:
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        await asyncio.sleep(0)
        self.reading -= 1
        return self.chunks.get(chunk_id)

    async def read_for(self, author: bytes, chunk_id: bytes) -> bytes | None:
        self.readers.add(author)
        return await self.read(chunk_id)

    async def serve(self, author: bytes, stream: Stream) -> None:
        await serve_chunks(stream, self.read)


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    """Open a client to a provider that answers with the given handler."""
    network = MemoryNetwork()
    peers: list[MemorySwarm] = []

    async def open_to(handler: Handler) -> ChunkClient:
        client, server = (network.join(Identity.generate().author, inactivity=1) for _ in "ab")
        peers.extend([client, server])
        await server.serve(CHUNK_PROTOCOL, handler)
        stream = await client.open(server.author, CHUNK_PROTOCOL, server.addresses())
        return ChunkClient(stream)

    yield open_to
    for peer in peers:
        await peer.close()


def answering(*frames: bytes) -> Handler:
    """A provider that says exactly this after the first request."""

    async def handler(author: bytes, stream: Stream) -> None:
        await stream.write(READY)
        await stream.read_exactly(2 + 32)
        for frame in frames:
            await stream.write(frame)

    return handler


def header(chunk_id: bytes, length: int) -> bytes:
    return chunk_id + length.to_bytes(4)


@pytest.mark.parametrize("size", INTERESTING_SIZES, ids=str)
async def test_a_chunk_arrives_whole(visit: Visit, size: int) -> None:
    shop = Shop(os.urandom(size))
    client = await visit(shop.serve)
    await client.request(shop.ids)
    assert await client.receive() == (shop.ids[0], shop.chunks[shop.ids[0]])


async def test_chunks_arrive_in_the_order_asked(visit: Visit) -> None:
    shop = Shop(*(os.urandom(100) for _ in range(20)))
    client = await visit(shop.serve)
    asked = shop.ids[::-1]
    await client.request(asked)
    assert [(await client.receive())[0] for _ in asked] == asked


async def test_missing_chunks_leave_gaps(visit: Visit) -> None:
    shop = Shop(b"here")
    client = await visit(shop.serve)
    absent = bytes(32)
    await client.request([absent, *shop.ids, absent])
    assert [(await client.receive())[1] for _ in range(3)] == [None, b"here", None]


async def test_asking_ahead_over_several_frames(visit: Visit) -> None:
    shop = Shop(*(number.to_bytes(4) for number in range(3 * IDS_PER_REQUEST + 1)))
    client = await visit(shop.serve)
    await client.request(shop.ids)
    assert client.pending == len(shop.ids)
    for chunk_id in shop.ids[:-1]:
        assert await client.receive() == (chunk_id, shop.chunks[chunk_id])
    await client.request(shop.ids[:1])
    assert client.pending == 2
    assert [(await client.receive())[0] for _ in "ab"] == [shop.ids[-1], shop.ids[0]]


async def test_the_server_reads_ahead_but_not_far(visit: Visit) -> None:
    shop = Shop(*(os.urandom(1000) for _ in range(50)))
    client = await visit(shop.serve)
    await client.request(shop.ids)
    for _ in shop.ids:
        await client.receive()
    assert 1 < shop.most_reading <= 3


async def test_a_damaged_chunk_counts_as_missing(visit: Visit) -> None:
    async def damaged(chunk_id: bytes) -> bytes | None:
        raise BadContent("the file is damaged")

    client = await visit(lambda author, stream: serve_chunks(stream, damaged))
    await client.request([bytes(32)])
    assert await client.receive() == (bytes(32), None)


async def test_nonsense_from_the_caller_is_refused_before_sending(visit: Visit) -> None:
    client = await visit(Shop().serve)
    with pytest.raises(ValueError, match="32 bytes"):
        await client.request([b"short"])
    with pytest.raises(ValueError, match="pending"):
        await client.request([bytes(32)] * (MAX_PENDING + 1))


WANTED = content_id(b"wanted")


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([header(WANTED, 6), b"forged"], id="wrong bytes"),
        pytest.param([header(bytes(32), 6), b"wanted"], id="another chunk"),
        pytest.param([header(WANTED, 0)], id="empty chunk"),
        pytest.param([header(WANTED, CHUNK_SIZE + 1)], id="too long"),
        pytest.param([header(WANTED, 0xFFFFFFFE)], id="four gigabytes"),
    ],
)
async def test_a_liar_is_caught(visit: Visit, frames: list[bytes]) -> None:
    client = await visit(answering(*frames))
    await client.request([WANTED])
    with pytest.raises(LyingProvider):
        await client.receive()


@pytest.mark.parametrize(
    "frames", [[], [header(WANTED, 6)[:20]], [header(WANTED, 6), b"wan"]], ids=len
)
async def test_a_provider_that_leaves_is_noticed(visit: Visit, frames: list[bytes]) -> None:
    client = await visit(answering(*frames))
    await client.request([WANTED])
    with pytest.raises(StreamClosed):
        await client.receive()


async def test_a_frozen_provider_is_noticed(visit: Visit) -> None:
    released = asyncio.Event()

    async def frozen(author: bytes, stream: Stream) -> None:
        await released.wait()

    client = await visit(frozen)
    await client.request([WANTED])
    with pytest.raises(StreamClosed):
        await client.receive()
    released.set()


async def test_another_protocol_is_noticed(visit: Visit) -> None:
    async def chatty(author: bytes, stream: Stream) -> None:
        await stream.write(b"HTTP/1.1 400 Bad Request")

    client = await visit(chatty)
    with pytest.raises(LyingProvider):
        await client.receive()


@pytest.mark.parametrize("count", [0, IDS_PER_REQUEST + 1, 0xFFFF])
async def test_a_nonsensical_request_ends_the_stream(visit: Visit, count: int) -> None:
    client = await visit(Shop().serve)
    await client._stream.read_exactly(len(READY))
    await client._stream.write(count.to_bytes(2))
    with pytest.raises(StreamClosed):
        await client._stream.read_exactly(1)


class TestCrowd:
    async def test_a_greedy_peer_is_told_to_wait_and_others_are_not(self) -> None:
        shop = Shop(b"chunk")
        network = MemoryNetwork()
        server, greedy, modest = (network.join(Identity.generate().author) for _ in range(3))
        await server.serve(
            CHUNK_PROTOCOL,
            ChunkServer(shop.read_for, streams=3, streams_per_peer=2, clock=lambda: 0.0),
        )

        async def ask(peer: MemorySwarm) -> ChunkClient:
            stream = await peer.open(server.author, CHUNK_PROTOCOL, server.addresses())
            client = ChunkClient(stream)
            await client.request(shop.ids)
            await client.receive()
            return client

        first, _ = await ask(greedy), await ask(greedy)
        with pytest.raises(ProviderBusy):
            await ask(greedy)
        await ask(modest)
        with pytest.raises(ProviderBusy):
            await ask(modest)
        await first._stream.close()

        async def there_is_room_again() -> bool:
            try:
                await ask(modest)
            except ProviderBusy:
                return False
            return True

        await eventually(there_is_room_again)
        for peer in (server, greedy, modest):
            await peer.close()


async def test_under_an_upload_limit_a_peer_with_more_streams_gets_no_more() -> None:
    chunk = os.urandom(40_000)
    network = MemoryNetwork()
    server, greedy, modest = (network.join(Identity.generate().author) for _ in range(3))
    pacers = Pacers(Pacer(1_000_000), Pacer(None))
    await server.serve(CHUNK_PROTOCOL, ChunkServer(Shop(chunk).read_for, pacers=pacers))
    received = {greedy: 0, modest: 0}
    waiting_for = 10

    async def take(peer: MemorySwarm) -> None:
        stream = await peer.open(server.author, CHUNK_PROTOCOL, server.addresses())
        client = ChunkClient(stream)
        await client.request([content_id(chunk)] * 100)
        while received[modest] < waiting_for:
            await client.receive()
            received[peer] += 1
        await stream.close()

    await asyncio.gather(take(modest), *(take(greedy) for _ in range(6)))
    assert received[greedy] <= 2 * waiting_for
    for peer in (server, greedy, modest):
        await peer.close()


async def test_under_an_upload_limit_no_more_peers_are_served_than_get_enough() -> None:
    shop = Shop(b"chunk")
    network = MemoryNetwork()
    server, first, second = (network.join(Identity.generate().author) for _ in range(3))
    pacers = Pacers(Pacer(LEAST_SHARE), Pacer(None))
    chunks = ChunkServer(shop.read_for, pacers=pacers, clock=lambda: 0.0)
    await server.serve(CHUNK_PROTOCOL, chunks)

    async def ask(peer: MemorySwarm) -> ChunkClient:
        client = ChunkClient(await peer.open(server.author, CHUNK_PROTOCOL, server.addresses()))
        await client.request(shop.ids)
        await client.receive()
        return client

    await ask(first)
    await ask(first)
    with pytest.raises(ProviderBusy):
        await ask(second)
    for peer in (server, first, second):
        await peer.close()


@pytest.mark.process
async def test_over_libp2p_from_two_providers() -> None:
    shop = Shop(*(os.urandom(CHUNK_SIZE) for _ in range(24)))
    async with LibP2PWorld() as world:
        fetcher, *providers = await world.circle(3)
        for provider in providers:
            await provider.serve(CHUNK_PROTOCOL, ChunkServer(shop.read_for))

        async def fetch(provider: bytes, ids: list[bytes]) -> list[tuple[bytes, bytes | None]]:
            stream = await fetcher.open(provider, CHUNK_PROTOCOL)
            try:
                client = ChunkClient(stream)
                await client.request(ids)
                return [await client.receive() for _ in ids]
            finally:
                await stream.close()

        halves = await asyncio.gather(
            fetch(providers[0].author, shop.ids[::2]), fetch(providers[1].author, shop.ids[1::2])
        )
        assert dict(halves[0] + halves[1]) == shop.chunks
        assert shop.readers == {fetcher.author}
