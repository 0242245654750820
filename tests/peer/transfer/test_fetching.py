import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from paris_p2p.errors import BadContent, DiskFull, NotAvailable
from paris_p2p.identity import Identity
from paris_p2p.network.chunk_protocol import BUSY, READY, serve_chunks
from paris_p2p.network.swarm import Stream
from paris_p2p.peer.serving import ChunkReader, serve
from paris_p2p.peer.transfer import scheduling
from paris_p2p.records.manifest import CHUNK_SIZE, MAX_SIZE
from paris_p2p.store.blobs import NoManifest
from paris_p2p.store.chunks import MissingChunk
from tests.peer.worlds import PeerWorld, content_of, eventually, head_of, hold, manifest_of


async def test_a_shard_arrives_whole_and_verified(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    seen: list[tuple[int, int]] = []

    await seeker.fetcher.fetch(
        content, lambda have, total: seen.append((have, total)), most=MAX_SIZE
    )

    assert seeker.node.blobs.read(content) == content_of(0)
    assert seen[0][0] < seen[-1][0] == seen[-1][1] == len(content_of(0))


async def test_several_providers_share_the_work(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holders = [await world.join() for _ in range(3)]
    seeker = await world.join()
    for holder in holders:
        content = await hold(holder, 0)

    sources = await seeker.fetcher.providers(content)
    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert {source.author for source in sources} == {h.node.identity.author for h in holders}
    assert seeker.node.blobs.complete(content)


async def test_a_liar_is_dropped_and_the_chunk_comes_from_an_honest_peer(tmp_path: Path) -> None:
    async def lie(author: bytes, stream: Stream) -> None:
        async def wrong(chunk: bytes) -> bytes:
            return b"not what was asked for"

        await serve_chunks(stream, wrong)

    world = PeerWorld(tmp_path)
    honest, liar, seeker = await world.join(), await world.join(serve=lie), await world.join()
    content = await hold(honest, 0)
    await hold(liar, 0)

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert seeker.node.blobs.read(content) == content_of(0)
    assert seeker.fetcher.received[liar.node.identity.author] == 0


async def test_a_frozen_provider_does_not_stop_the_fetch(tmp_path: Path) -> None:
    async def freeze(author: bytes, stream: Stream) -> None:
        await asyncio.sleep(3600)

    world = PeerWorld(tmp_path)
    honest, frozen, seeker = await world.join(), await world.join(serve=freeze), await world.join()
    content = await hold(honest, 0)
    await hold(frozen, 0)

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert seeker.node.blobs.complete(content)


async def test_chunks_on_disk_are_not_fetched_again(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    seeker.node.blobs.chunks.put(content_of(0)[:CHUNK_SIZE])

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    manifest = manifest_of(0)
    received = seeker.fetcher.received[holder.node.identity.author]
    assert received == manifest.size - CHUNK_SIZE + len(manifest.encode())


async def test_a_corrupt_chunk_on_disk_is_fetched_again(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    await seeker.fetcher.fetch(content, most=MAX_SIZE)
    chunk = manifest_of(0).chunks[0]
    file = next(seeker.node.home.store_dir.rglob(chunk.hex()))
    file.write_bytes(b"rotten" + file.read_bytes()[6:])
    with pytest.raises(MissingChunk):
        seeker.node.blobs.read(content)

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert seeker.node.blobs.read(content) == content_of(0)


async def test_providers_that_hold_parts_complete_each_other(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    one, two, seeker = await world.join(), await world.join(), await world.join()
    content = await hold(one, 0)
    await hold(two, 0)
    first, second, *_ = manifest_of(0).chunks
    one.node.blobs.chunks.delete(first)
    two.node.blobs.chunks.delete(second)

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert seeker.node.blobs.read(content) == content_of(0)


async def test_nobody_serves_it(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    await world.join()
    seeker = await world.join()

    with pytest.raises(NotAvailable, match="no reachable peer"):
        await seeker.fetcher.fetch(manifest_of(0).id, most=MAX_SIZE, patience=0.3)


async def test_a_provider_that_trickles_does_not_hold_a_fetch_up(tmp_path: Path) -> None:
    async def trickle(author: bytes, stream: Stream) -> None:
        await stream.write(READY)
        while True:
            await stream.write(b"x")
            await asyncio.sleep(1)

    world = PeerWorld(tmp_path)
    honest, slow, seeker = await world.join(), await world.join(serve=trickle), await world.join()
    content = await hold(honest, 0)
    await hold(slow, 0)

    await asyncio.wait_for(seeker.fetcher.fetch(content, most=MAX_SIZE), 20)

    assert seeker.node.blobs.complete(content)


async def test_providers_that_have_nothing_do_not_hide_one_that_has(tmp_path: Path) -> None:
    async def empty(author: bytes, stream: Stream) -> None:
        async def nothing(chunk: bytes) -> None:
            return None

        await serve_chunks(stream, nothing)

    world = PeerWorld(tmp_path)
    honest = await world.join()
    content = await hold(honest, 0)
    for _ in range(scheduling.MOST_SOURCES):
        await hold(await world.join(serve=empty), 0)
    seeker = await world.join()

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert seeker.node.blobs.complete(content)


async def test_a_head_that_names_a_shard_does_not_cap_its_size(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    seeker.heads.add(head_of(holder, 0, 5, content).seal(holder.node.identity))
    assert len(content_of(0)) > seeker.run.checkpoint_limit(0)

    await seeker.fetch(content)

    assert seeker.node.blobs.complete(content)


async def test_content_larger_than_its_kind_can_be_is_refused_before_it_is_fetched(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    with pytest.raises(BadContent, match="says it has"):
        await seeker.fetcher.fetch(content, most=1000)
    assert not any(seeker.node.blobs.chunks.has(chunk) for chunk in manifest_of(0).chunks)


async def test_what_is_no_manifest_is_fetched_once_deleted_and_condemned(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    liar, seeker = await world.join(), await world.join()
    content = liar.node.blobs.chunks.put(b"\xdd\x00\x0f\xff\xf0" + b"\x80" * 0xFFFF0)
    await liar.announcer.content(content)
    seeker.heads.add(head_of(liar, 0, 5, content).seal(liar.node.identity))

    with pytest.raises(NoManifest):
        await seeker.fetch(content)

    assert not seeker.node.blobs.chunks.has(content) and content not in seeker.node.blobs.known()
    assert seeker.node.refusals.has_condemned(content)
    assert [refusal.content for refusal in seeker.node.refusals.all()] == [content.hex()]
    assert seeker.heads.all() == []


async def test_junk_that_many_authors_name_is_condemned_once_and_announces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    liar, seeker = await world.join(), await world.join()
    junk = liar.node.blobs.chunks.put(b"junk")
    await liar.announcer.content(junk)
    authors = [Identity.generate() for _ in range(10)]
    heads = [replace(head_of(liar, 0, 5, junk), author=one.author) for one in authors]
    for head, author in zip(heads, authors, strict=True):
        seeker.heads.add(head.seal(author))
    rounds = AsyncMock()
    monkeypatch.setattr(seeker.announcer, "everything", rounds)

    with pytest.raises(NoManifest):
        await seeker.fetch(junk)

    assert len(seeker.node.refusals.all()) == 1
    assert seeker.heads.all() == []
    assert all(seeker.node.refusals.is_condemned(junk, author.author) for author in authors)
    rounds.assert_not_awaited()


async def test_a_piece_of_something_else_is_no_content_and_stays(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(seeker, 0)
    piece = manifest_of(0).chunks[1]
    seeker.heads.add(head_of(holder, 0, 5, piece).seal(holder.node.identity))

    with pytest.raises(NoManifest):
        await seeker.fetch(piece)

    assert seeker.node.blobs.complete(content)
    assert seeker.node.refusals.has_condemned(piece)


async def test_a_provider_that_comes_later_is_found(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    fetching = asyncio.create_task(seeker.fetcher.fetch(manifest_of(0).id, most=MAX_SIZE))
    await asyncio.sleep(0.2)
    assert not fetching.done()

    await hold(holder, 0)
    await fetching

    assert seeker.node.blobs.complete(manifest_of(0).id)


async def test_a_busy_provider_is_asked_again_later(tmp_path: Path) -> None:
    refused = 0

    async def busy_at_first(author: bytes, stream: Stream) -> None:
        nonlocal refused
        if refused < 2:
            refused += 1
            await stream.write(BUSY)
        else:
            await serve_chunks(stream, lambda chunk: ChunkReader(holder.node)(author, chunk))

    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(serve=busy_at_first), await world.join()
    content = await hold(holder, 0)

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert refused == 2
    assert seeker.node.blobs.complete(content)


async def test_an_interrupted_fetch_goes_on_where_it_stopped(tmp_path: Path) -> None:
    given = 0

    async def part(author: bytes, stream: Stream) -> None:
        async def read(chunk: bytes) -> bytes | None:
            nonlocal given
            given += 1
            return await ChunkReader(holder.node)(author, chunk) if given <= 3 else await stuck()

        await serve_chunks(stream, read)

    async def stuck() -> None:
        await asyncio.Event().wait()

    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(serve=part), await world.join()
    content = await hold(holder, 0)
    first = asyncio.create_task(seeker.fetcher.fetch(content, most=MAX_SIZE))
    missing = len(manifest_of(0).chunks) - 2
    await eventually(
        lambda: (
            seeker.node.blobs.chunks.has(content)
            and len(seeker.node.blobs.missing(manifest_of(0))) == missing
        )
    )
    first.cancel()
    await asyncio.wait([first])
    await serve(holder.node)

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    sent = holder.node.sent
    assert sent == len(content_of(0)) + len(manifest_of(0).encode())


async def test_many_that_trickle_do_not_hide_one_that_delivers(tmp_path: Path) -> None:
    async def trickle(author: bytes, stream: Stream) -> None:
        await stream.write(READY)
        while True:
            await stream.write(b"\0")
            await asyncio.sleep(1)

    world = PeerWorld(tmp_path)
    honest = await world.join()
    content = await hold(honest, 0)
    for _ in range(scheduling.MOST_SOURCES):
        await hold(await world.join(serve=trickle), 0)
    seeker = await world.join()
    now = asyncio.get_running_loop().time()
    seeker.fetcher._reputation.failed(honest.node.identity.author, now - 60)

    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert seeker.node.blobs.complete(content)


async def test_a_full_disk_ends_the_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)

    def no_room(chunk: bytes, data: memoryview) -> None:
        raise DiskFull("no room left on the disk")

    monkeypatch.setattr(seeker.node.blobs.chunks, "put_verified", no_room)
    with pytest.raises(DiskFull):
        await seeker.fetcher.fetch(content, most=MAX_SIZE)


async def test_a_bug_in_one_conversation_does_not_end_the_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    one, two, seeker = await world.join(), await world.join(), await world.join()
    content = await hold(one, 0)
    await hold(two, 0)
    open_ = seeker.swarm.open
    bugs = 0

    async def buggy(author: bytes, *where: Any) -> Stream:
        nonlocal bugs
        bugs += 1
        if bugs == 1:
            raise RuntimeError("a bug")
        return await open_(author, *where)

    monkeypatch.setattr(seeker.swarm, "open", buggy)
    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert bugs > 1
    assert seeker.node.blobs.complete(content)
