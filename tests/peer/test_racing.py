"""A trickle is not waited for: the least pace, and contents of which any will do."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent, DiskFull, NotAvailable
from paris_p2p.network.swarm import Stream
from paris_p2p.network.wire import serve_chunks
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.racing import (
    MOST_AT_ONCE,
    Event,
    Fetch,
    LeastPace,
    Pace,
    TooSlow,
    at_pace,
    first_complete,
)
from paris_p2p.records.manifest import CHUNK_SIZE
from tests.peer.worlds import PeerWorld, eventually, head_of

MB = 1 << 20
QUICK = LeastPace(look=0.1, soon=0.2, rate=math.inf)
MOST = 2 * MB


def test_what_matters_is_the_time_it_takes_in_all_at_its_rate_so_far() -> None:
    pace = Pace(LeastPace(look=5.0, soon=60.0, rate=MB), now=100.0)
    assert pace.falls_behind_at() == 105.0
    pace.told(10 * MB, 30 * MB)
    assert pace.seconds(108.0) == math.inf
    pace.told(12 * MB, 30 * MB)
    assert pace.seconds(108.0) == 80.0
    assert pace.falls_behind_at() == 106.0
    pace.told(29 * MB, 30 * MB)
    assert pace.falls_behind_at() == 157.0
    pace.told(30 * MB, 30 * MB)
    assert pace.falls_behind_at() == math.inf


def test_what_is_large_has_the_time_that_the_least_rate_takes() -> None:
    pace = Pace(LeastPace(look=5.0, soon=60.0, rate=MB), now=0.0)
    pace.told(0, 1000 * MB)
    pace.told(100 * MB, 1000 * MB)
    assert pace.falls_behind_at() == 100.0


def weights(number: int) -> bytes:
    """Two chunks, and not those of another number."""
    return bytes([number]) * (CHUNK_SIZE + 1)


async def serve(world: PeerWorld, number: int, chunks: int | None = None) -> bytes:
    """A content that some peer serves: all of it, or only so many of its chunks."""
    given = 0

    async def some(author: bytes, stream: Stream) -> None:
        async def read(chunk: bytes) -> bytes | None:
            nonlocal given
            given += 1
            if chunks is not None and given > chunks:
                await asyncio.Event().wait()
            return await holder.read_chunk(author, chunk)

        await serve_chunks(stream, read)

    holder = await world.join(serve=some)
    content = holder.blobs.add_bytes(weights(number), "checkpoint", "w.safetensors").id
    await holder.announcer.content(content)
    return content


def wanted(peer: Peer, content: bytes, patience: float | None = None) -> AsyncGenerator[Event]:
    """Have a content that a head names."""
    offered = dict(peer.offers[-1]) if peer.offers else {}
    peer.offers.append({**offered, content: head_of(peer, 0, 1, content)})
    return peer.fetch_events([content], MOST, patience)


async def race(
    peer: Peer, contents: list[bytes], least: LeastPace = QUICK, patience: float = 3600.0
) -> bytes:
    """The content that wins; fails where that takes for ever."""

    def fetch(content: bytes) -> AsyncGenerator[Event]:
        return wanted(peer, content, patience)

    return await winner(fetch, contents, least)


async def winner(fetch: Fetch, contents: list[bytes], least: LeastPace = QUICK) -> bytes:
    async with asyncio.timeout(60):
        events = [event async for event in first_complete(fetch, contents, least)]
    assert {event["event"] for event in events[:-1]} <= {"fetching"}
    assert events[-1]["event"] == "complete"
    return bytes.fromhex(events[-1]["content"])


@pytest.mark.parametrize("chunks", [0, 1, 2])
async def test_one_that_trickles_is_overtaken_by_the_next(tmp_path: Path, chunks: int) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    pit, honest = await serve(world, 1, chunks), await serve(world, 2)

    assert await race(peer, [pit, honest]) == honest
    assert peer.blobs.read(honest) == weights(2)


async def test_however_many_trickle_the_honest_one_is_reached(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    pits = [await serve(world, number, 1) for number in range(2 * MOST_AT_ONCE)]
    honest = await serve(world, 99)

    assert await race(peer, [*pits, honest]) == honest


async def test_the_best_is_taken_while_it_keeps_the_pace(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    best, next_best = await serve(world, 1), await serve(world, 2)

    assert await race(peer, [best, next_best], least=LeastPace()) == best
    assert not peer.blobs.chunks.has(next_best)


async def test_what_is_here_wins_at_once_over_what_trickles(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    pit = await serve(world, 1, 1)
    here = peer.blobs.add_bytes(weights(2), "checkpoint", "w.safetensors").id

    assert await race(peer, [pit, here]) == here


async def test_what_nobody_has_or_is_too_large_is_passed_over(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    holder = await world.join()
    large = holder.blobs.add_bytes(bytes(2 * MB + 1), "checkpoint", "w.safetensors").id
    await holder.announcer.content(large)
    small = holder.blobs.add_bytes(b"weights", "checkpoint", "w.safetensors").id
    await holder.announcer.content(small)

    assert await race(peer, [bytes(32), large, small], LeastPace(), patience=0.2) == small
    assert not peer.blobs.complete(large)


async def test_one_set_aside_is_taken_up_again_where_nothing_else_is_left() -> None:
    tried: list[bytes] = []
    names = [str(number).encode() for number in range(2 * MOST_AT_ONCE)]
    all_tried = asyncio.Event()

    async def fetch(content: bytes) -> AsyncGenerator[Event]:
        tried.append(content)
        yield {"event": "fetching", "content": content.hex(), "bytes": 0, "total": 10}
        if len(tried) == len(names):
            all_tried.set()
        if len(tried) > len(names):
            return
        await all_tried.wait()
        raise NotAvailable("gone")

    assert await winner(fetch, names) == names[0]


async def test_where_none_can_be_had_that_is_said(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    with pytest.raises(NotAvailable, match="none of the candidates"):
        await race(peer, [bytes(32), bytes([1]) * 32], patience=0.1)


async def test_what_is_nobodys_fault_ends_the_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    content = await serve(world, 1)

    def full(chunk: bytes, data: memoryview) -> None:
        raise DiskFull("no room left on the disk")

    monkeypatch.setattr(peer.blobs.chunks, "put_verified", full)
    with pytest.raises(DiskFull):
        await race(peer, [content])


async def test_a_single_fetch_that_trickles_is_given_up(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    pit = await serve(world, 1, 2)
    async with asyncio.timeout(60):
        with pytest.raises(TooSlow):
            async for _ in at_pace(wanted(peer, pit, 3600.0), QUICK):
                pass
    assert not peer.blobs.complete(pit)
    await eventually(lambda: not peer.fetching)


async def test_a_single_fetch_that_keeps_the_pace_comes_through(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    content = await serve(world, 1)
    events = [event async for event in at_pace(wanted(peer, content))]
    assert events[-1]["bytes"] == events[-1]["total"] == len(weights(1))
    assert peer.blobs.complete(content)


async def test_errors_of_a_fetch_are_its_own(tmp_path: Path) -> None:
    async def bad() -> AsyncGenerator[Event]:
        yield {"event": "fetching", "bytes": 0, "total": 1}
        raise BadContent("says it is too large")

    with pytest.raises(BadContent, match="too large"):
        async for _ in at_pace(bad()):
            pass


async def test_time_in_which_nothing_can_come_makes_no_fetch_too_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another fetch is being admitted, and then a file is made of what is here."""
    peer = await PeerWorld(tmp_path).join()
    content = peer.blobs.add_bytes(weights(1), "checkpoint", "w.safetensors").id
    make = peer.blobs.path

    def slowly(content: bytes) -> Path:
        time.sleep(0.2)
        return make(content)

    monkeypatch.setattr(peer.blobs, "path", slowly)
    await peer.admitting.acquire()
    asyncio.get_running_loop().call_later(0.2, peer.admitting.release)

    fetch = at_pace(wanted(peer, content), LeastPace(look=0.01, soon=0.01))
    async for _ in fetch:
        pass

    assert content in peer.blobs.files()
