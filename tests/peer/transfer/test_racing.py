"""A fetch does not wait for a trickle: the least pace, and races of alternative contents."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent, DiskFull, NotAvailable
from paris_p2p.network.chunk_protocol import serve_chunks
from paris_p2p.network.swarm import Stream
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.serving import ChunkReader
from paris_p2p.peer.transfer.obtaining import obtain
from paris_p2p.peer.transfer.racing import (
    Event,
    Fetch,
    LeastPace,
    Pace,
    TooSlow,
    at_pace,
    first_complete,
)
from paris_p2p.peer.upkeep.store_quota import NoRoom
from paris_p2p.records.manifest import CHUNK_SIZE
from simulator.clock import run_virtually
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
            return await ChunkReader(holder.node)(author, chunk)

        await serve_chunks(stream, read)

    holder = await world.join(serve=some)
    content = holder.node.blobs.add_bytes(weights(number), "checkpoint", "w.safetensors").id
    await holder.announcer.content(content)
    return content


def wanted(
    peer: Membership, content: bytes, patience: float | None = None
) -> AsyncGenerator[Event]:
    """Have a content that a head names."""
    offered = dict(peer.offers[-1]) if peer.offers else {}
    peer.offers.append({**offered, content: head_of(peer, 0, 1, content)})
    return obtain(peer, [content], MOST, patience)


async def race(
    peer: Membership, contents: list[bytes], least: LeastPace = QUICK, patience: float = 3600.0
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
    assert peer.node.blobs.read(honest) == weights(2)


async def test_however_many_trickle_the_honest_one_is_reached(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    pits = [await serve(world, number, 1) for number in range(8)]
    honest = await serve(world, 99)

    assert await race(peer, [*pits, honest]) == honest


async def test_the_best_is_taken_while_it_keeps_the_pace(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    best, next_best = await serve(world, 1), await serve(world, 2)

    assert await race(peer, [best, next_best], least=LeastPace()) == best
    assert not peer.node.blobs.chunks.has(next_best)


async def test_what_is_here_wins_at_once_over_what_trickles(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    pit = await serve(world, 1, 1)
    here = peer.node.blobs.add_bytes(weights(2), "checkpoint", "w.safetensors").id

    assert await race(peer, [pit, here]) == here


async def test_what_nobody_has_or_is_too_large_is_passed_over(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    holder = await world.join()
    large = holder.node.blobs.add_bytes(bytes(2 * MB + 1), "checkpoint", "w.safetensors").id
    await holder.announcer.content(large)
    small = holder.node.blobs.add_bytes(b"weights", "checkpoint", "w.safetensors").id
    await holder.announcer.content(small)

    assert await race(peer, [bytes(32), large, small], LeastPace(), patience=0.2) == small
    assert not peer.node.blobs.complete(large)


async def test_one_set_aside_is_taken_up_again_where_nothing_else_is_left() -> None:
    tried: list[bytes] = []
    names = [str(number).encode() for number in range(8)]
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

    assert await winner(fetch, names) == names[1]


@dataclass
class Line:
    """A line whose rate the fetches of an hour share. What has come of a content is kept."""

    rate: float
    """Bytes a second."""
    total: int = 10 * MB
    """Bytes of each content."""
    limits: dict[bytes, Callable[[float], float]] = field(default_factory=dict)
    """Bytes a second that the provider of a content gives, by the seconds since it was asked."""
    have: Counter[bytes] = field(default_factory=Counter)
    coming: int = 0

    async def fetch(self, content: bytes) -> AsyncGenerator[Event]:
        limit = self.limits.get(content, lambda seconds: math.inf)
        asked = asyncio.get_running_loop().time()
        self.coming += 1
        got = 0.0
        try:
            while True:
                here = min(self.total, self.have[content])
                yield {"event": "fetching", "bytes": here, "total": self.total}
                if here == self.total:
                    return
                while got < CHUNK_SIZE:
                    await asyncio.sleep(0.25)
                    given = limit(asyncio.get_running_loop().time() - asked)
                    got += 0.25 * min(given, self.rate / self.coming)
                self.have[content] += CHUNK_SIZE
                got -= CHUNK_SIZE
        finally:
            self.coming -= 1

    def race(self, contents: Sequence[bytes]) -> tuple[bytes, float]:
        """The content that wins, and after how many seconds."""

        async def raced() -> tuple[bytes, float]:
            async with asyncio.timeout(24 * 3600.0):
                events = [event async for event in first_complete(self.fetch, contents)]
            return bytes.fromhex(events[-1]["content"]), asyncio.get_running_loop().time()

        return run_virtually(raced())


NAMES = [bytes([number]) * 32 for number in range(20)]


@pytest.mark.parametrize("rate", [50, 100, 150])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_on_a_slow_line_more_candidates_take_hardly_longer_than_one(count: int, rate: int) -> None:
    alone, together = Line(rate * 1024.0), Line(rate * 1024.0)
    _, least = alone.race(NAMES[:1])
    _, seconds = together.race(NAMES[:count])
    assert seconds < 1.75 * least


def trickles(seconds: float) -> float:
    return 100.0


def begins_well(seconds: float) -> float:
    return MB if seconds < 8 else 100.0


def gives_half(seconds: float) -> float:
    return 100 * 1024.0 if seconds < 50 else 100.0


@pytest.mark.parametrize("rate", [50, 1000])
@pytest.mark.parametrize("pits", [1, 19])
@pytest.mark.parametrize("pit", [trickles, begins_well, gives_half])
def test_on_any_line_the_honest_one_is_reached(
    pit: Callable[[float], float], pits: int, rate: int
) -> None:
    line = Line(rate * 1024.0, limits=dict.fromkeys(NAMES[:pits], pit))
    winner, seconds = line.race(NAMES[: pits + 1])
    assert winner == NAMES[pits]
    assert seconds < 2.2 * line.total / line.rate + 60.0 * pits


def no_room() -> NoRoom:
    return NoRoom("it needs 10 MB and the quota has no room for them")


async def test_one_that_the_quota_has_no_room_for_is_passed_over() -> None:
    async def fetch(content: bytes) -> AsyncGenerator[Event]:
        yield {"event": "fetching", "content": content.hex(), "bytes": 0, "total": 10}
        if content == b"large":
            raise no_room()

    assert await winner(fetch, [b"large", b"small"]) == b"small"


async def test_where_nothing_else_can_be_had_the_quota_is_what_is_told() -> None:
    async def fetch(content: bytes) -> AsyncGenerator[Event]:
        yield {"event": "fetching", "content": content.hex(), "bytes": 0, "total": 10}
        raise no_room() if content == b"large" else NotAvailable("nobody has it")

    with pytest.raises(NoRoom):
        await winner(fetch, [b"large", b"gone"])


async def test_one_that_trickles_keeps_no_room_from_the_next() -> None:
    taken: set[bytes] = set()

    async def fetch(content: bytes) -> AsyncGenerator[Event]:
        yield {"event": "fetching", "content": content.hex(), "bytes": 0, "total": 10}
        if taken:
            raise no_room()
        taken.add(content)
        try:
            if content == b"pit":
                await asyncio.Event().wait()
        finally:
            taken.clear()

    assert await winner(fetch, [b"pit", b"honest"]) == b"honest"


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

    monkeypatch.setattr(peer.node.blobs.chunks, "put_verified", full)
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
    assert not peer.node.blobs.complete(pit)
    await eventually(lambda: not peer.node.in_use)


async def test_a_single_fetch_that_keeps_the_pace_comes_through(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    content = await serve(world, 1)
    events = [event async for event in at_pace(wanted(peer, content))]
    assert events[-1]["bytes"] == events[-1]["total"] == len(weights(1))
    assert peer.node.blobs.complete(content)


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
    content = peer.node.blobs.add_bytes(weights(1), "checkpoint", "w.safetensors").id
    make = peer.node.blobs.path

    def slowly(content: bytes) -> Path:
        time.sleep(0.2)
        return make(content)

    monkeypatch.setattr(peer.node.blobs, "path", slowly)
    await peer.node.admitting.acquire()
    asyncio.get_running_loop().call_later(0.2, peer.node.admitting.release)

    fetch = at_pace(wanted(peer, content), LeastPace(look=0.01, soon=0.01))
    async for _ in fetch:
        pass

    assert content in peer.node.blobs.files()
