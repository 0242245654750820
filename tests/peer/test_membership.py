"""A membership: limits of content, content in use, condemned content."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.upkeep import replication
from paris_p2p.peer.upkeep.replication import replicate
from paris_p2p.records.head import Head
from tests.peer.worlds import PeerWorld, content_of, head_of, hold, manifest_of, meanwhile


@pytest.fixture(autouse=True)
def no_doubts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "DOUBT", 0.0)


async def published(author: Membership, slot: int = 0, step: int = 9) -> Head:
    """A head of `author`'s whose content it serves."""
    content = author.node.blobs.add_bytes(b"weights of %d" % slot, "checkpoint", "weights").id
    head = head_of(author, slot, step, content)
    author.heads.add(head.seal(author.node.identity), own=True)
    await author.announcer.everything()
    return head


async def test_condemned_content_is_dropped_and_neither_kept_nor_announced(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    liar, peer, other = [await world.join() for _ in range(3)]
    head = await published(liar)
    await replicate(peer.node)
    assert peer.node.blobs.complete(head.manifest)

    await peer.condemn(head, "its weights are not finite")

    assert head.manifest not in peer.node.blobs.known()
    assert not peer.heads.all() and not peer.heads.known(0)
    sources = await other.fetcher.providers(head.manifest)
    assert [source.author for source in sources] == [liar.node.identity.author]
    with pytest.raises(BadContent, match="tried before and refuted"):
        await peer.fetch(head.manifest)


async def test_condemned_content_does_not_come_back_after_its_author_left_and_a_restart(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    liar, keeper, peer = [await world.join() for _ in range(3)]
    head = await published(liar)
    await replicate(keeper.node)
    await peer.survey()
    await peer.condemn(head, "it diverges")
    world.network.drop(liar.node.identity.author)

    peer.node.refusals = Refusals(peer.node.home.refusals_file, peer.node.clock)
    for _ in range(2):
        await keeper.announcer.everything()
        await replicate(peer.node)

    assert keeper.node.blobs.complete(head.manifest)
    assert head.manifest not in peer.node.blobs.known()
    with pytest.raises(BadContent, match="tried before and refuted"):
        await peer.fetch(head.manifest)
    again = HeadBook(
        peer.node.home.runs_dir / peer.run_id.hex() / "heads",
        peer.run_id,
        peer.run.slots(),
        lambda head: not peer.node.refusals.is_condemned(head.manifest, head.author),
    )
    assert not again.all()


async def test_who_signs_for_anothers_honest_work_does_not_get_it_condemned(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    honest, liar, peer = [await world.join() for _ in range(3)]
    head = await published(honest, slot=1)
    await replicate(peer.node)
    false = head_of(liar, 0, 2**40, head.manifest)
    peer.heads.add(false.seal(liar.node.identity))

    await peer.condemn(false, "it is far worse than it claims")

    assert peer.heads.all() == [head]
    assert peer.node.blobs.complete(head.manifest)
    assert len(await honest.fetcher.providers(head.manifest)) == 1
    await peer.fetch(head.manifest)
    with pytest.raises(BadContent, match="does not count"):
        peer.heads.add(false.seal(liar.node.identity))


async def test_what_the_run_is_made_of_stays_whatever_a_head_says_of_it(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    liar, peer = await world.join(), await world.join()
    shard = await hold(peer, 1)
    false = head_of(liar, 0, 5, shard)
    peer.heads.add(false.seal(liar.node.identity))

    await peer.condemn(false, "these are no weights")

    assert peer.node.blobs.complete(shard)
    assert len(await liar.fetcher.providers(shard)) == 1
    await peer.fetch(shard)


async def test_a_fetch_that_is_running_does_not_announce_what_was_condemned_meanwhile(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    liar, peer = await world.join(), await world.join()
    head = await published(liar)
    peer.heads.add(head.seal(liar.node.identity))

    def condemning(have: int, total: int) -> None:
        peer.node.refusals.condemn(head.manifest, head.author, "head", "it diverges")

    with pytest.raises(BadContent, match="tried before and refuted"):
        await peer.fetch(head.manifest, condemning)


async def test_whoever_begins_to_use_a_content_that_is_going_waits_and_fetches_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    other, peer = await world.join(), await world.join()
    content = await hold(other, 0)
    await hold(peer, 0)
    going, released, drop = threading.Event(), threading.Event(), peer.node.blobs.drop

    def slow(blob: bytes) -> None:
        going.set()
        assert released.wait(20)
        drop(blob)

    monkeypatch.setattr(peer.node.blobs, "drop", slow)
    letting_go = asyncio.create_task(peer.node.let_go(content))
    await meanwhile(going.is_set)
    fetching = asyncio.create_task(peer.fetch(content))
    await meanwhile(lambda: content in peer.node.in_use)
    released.set()

    assert await letting_go
    await fetching
    assert peer.node.blobs.read(content) == content_of(0)


async def test_a_drop_that_is_cancelled_is_finished_before_anybody_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await PeerWorld(tmp_path).join()
    content = await hold(peer, 0)
    going, released, drop = threading.Event(), threading.Event(), peer.node.blobs.drop

    def slow(blob: bytes) -> None:
        going.set()
        assert released.wait(20)
        drop(blob)

    monkeypatch.setattr(peer.node.blobs, "drop", slow)
    letting_go = asyncio.create_task(peer.node.let_go(content))
    await meanwhile(going.is_set)
    letting_go.cancel()
    begun = asyncio.Event()

    async def use() -> bool:
        async with peer.node.using([content]):
            begun.set()
            return any(map(peer.node.blobs.chunks.has, manifest_of(0).chunks))

    using = asyncio.create_task(use())
    await meanwhile(lambda: content in peer.node.in_use)
    assert not begun.is_set()
    released.set()
    assert not await using
    with pytest.raises(asyncio.CancelledError):
        await letting_go


async def test_what_is_in_use_is_not_let_go(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    content = await hold(peer, 0)
    async with peer.node.using([content]):
        assert not await peer.node.let_go(content)
    assert await peer.node.let_go(content)


async def test_a_made_file_that_came_into_use_again_stays(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    content = await hold(peer, 1)
    before = peer.node.clock() - 60
    file = await peer.node.path(content)
    await peer.node.let_go_file(content, before)
    assert file.exists()
    await peer.node.let_go_file(content, peer.node.clock() + 60)
    assert not file.exists()
