"""The content that is deleted or evicted, when, and the content that never is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.publishing import Checkpoint
from paris_p2p.peer.training.publishing import publish as publish_file
from paris_p2p.peer.upkeep import garbage_collection
from paris_p2p.peer.upkeep.garbage_collection import GRACE, collect, make_room
from paris_p2p.records.head import Head
from paris_p2p.records.keys import heads_key
from tests.peer.worlds import Clock, PeerWorld, has_nothing, head_of, hold, manifest_of, meanwhile

LetGo = Callable[[Membership, bytes], Coroutine[Any, Any, None]]


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def world(tmp_path: Path, clock: Clock) -> PeerWorld:
    return PeerWorld(tmp_path, MemoryNetwork(clock))


def publish(peer: Membership, by: Membership, slot: int, step: int, data: bytes) -> bytes:
    """A checkpoint of `by`'s in the store and book of `peer`."""
    content = peer.node.blobs.add_bytes(data, "checkpoint", "weights.safetensors").id
    peer.heads.add(head_of(by, slot, step, content, created=1000.0 + step).seal(by.node.identity))
    return content


def set_quota(peer: Membership, room: int) -> None:
    peer.node.config = replace(peer.node.config, store_quota=peer.node.blobs.usage() + room)


async def test_a_superseded_checkpoint_goes_after_its_grace_and_so_does_its_announcement(
    world: PeerWorld, clock: Clock
) -> None:
    author, keeper = await world.join(), await world.join()
    old = publish(keeper, author, 0, 1, b"old weights")
    await keeper.announcer.everything()
    await collect(keeper.node)
    new = publish(keeper, author, 0, 2, b"new weights")

    clock.ahead = GRACE / 2
    await collect(keeper.node)
    await keeper.announcer.everything()
    assert keeper.node.blobs.complete(old)

    clock.ahead = GRACE + 60
    await collect(keeper.node)
    assert keeper.node.blobs.known().keys() == {new}
    assert await author.fetcher.providers(old) == []


async def test_the_grace_counts_on_across_a_restart(world: PeerWorld, clock: Clock) -> None:
    author, keeper = await world.join(), await world.join()
    old = publish(keeper, author, 0, 1, b"old weights")
    await collect(keeper.node)
    publish(keeper, author, 0, 2, b"new weights")

    clock.ahead = GRACE + 60
    keeper.heads = HeadBook(
        keeper.node.home.runs_dir / keeper.run_id.hex() / "heads", keeper.run_id, keeper.run.slots()
    )
    await collect(keeper.node)

    assert not keeper.node.blobs.complete(old)


async def test_a_content_that_became_wanted_again_has_its_whole_grace_again(
    world: PeerWorld, clock: Clock
) -> None:
    author, keeper = await world.join(), await world.join()
    content = publish(keeper, author, 0, 1, b"weights")
    clock.ahead = 10 * GRACE
    await collect(keeper.node)
    publish(keeper, author, 0, 2, b"newer")
    await collect(keeper.node)
    assert keeper.node.blobs.complete(content)


async def copied(author: Membership, keeper: Membership, step: int) -> bytes:
    """A checkpoint that `author` publishes and `keeper` copies."""
    content = publish(author, author, 0, step, b"weights %d" % step)
    await author.announcer.everything()
    await keeper.survey()
    await keeper.fetch(content)
    await keeper.announcer.content(content)
    return content


async def rounds(peer: Membership, clock: Clock, *others: Membership) -> None:
    """Some rounds of a peer's life among others, each with a whole grace between."""
    for _ in range(3):
        clock.ahead += GRACE + 60
        for each in (*others, peer):
            await each.announcer.everything()
        await peer.survey()
        await collect(peer.node)


async def test_what_nobody_copied_before_its_author_left_displaces_nothing_that_was_copied(
    world: PeerWorld, clock: Clock
) -> None:
    keeper, author, bystander, newcomer = [await world.join() for _ in range(4)]
    old = await copied(author, keeper, step=1)
    publish(author, author, 0, 2, b"of nobody else")
    await author.announcer.everything()
    for peer in (keeper, bystander):
        await peer.survey()
        assert max(head.step for head in peer.heads.of(0)) == 2
    world.network.drop(author.node.identity.author)

    await rounds(keeper, clock)

    assert keeper.node.blobs.complete(old)
    for peer in (bystander, newcomer):
        await peer.survey()
        assert [head.manifest for head in peer.heads.of(0)] == [old]


async def test_what_enough_others_copied_displaces_what_was_before(
    world: PeerWorld, clock: Clock
) -> None:
    keeper, author, *others = [await world.join() for _ in range(5)]
    old = await copied(author, keeper, step=1)
    for other in others:
        new = await copied(author, other, step=2)
    await keeper.survey()
    assert {head.manifest for head in keeper.heads.of(0)} == {old, new}

    await rounds(keeper, clock, *others)

    assert [head.manifest for head in keeper.heads.of(0)] == [new]
    assert not keeper.node.blobs.complete(old)


async def test_liars_who_say_that_they_hold_the_newest_do_not_make_the_one_before_go(
    world: PeerWorld, clock: Clock
) -> None:
    keeper, author = await world.join(), await world.join()
    old = await copied(author, keeper, step=1)
    newest = publish(author, author, 0, 2, b"of nobody else")
    await author.announcer.everything()
    await keeper.survey()
    world.network.drop(author.node.identity.author)
    for _ in range(4):
        liar = await world.join(serve=has_nothing)
        await liar.announcer.content(newest)

    await collect(keeper.node)

    assert {head.manifest for head in keeper.heads.of(0)} == {old, newest}


async def test_what_others_outrank_stays_until_room_is_needed(
    world: PeerWorld, clock: Clock
) -> None:
    authors = [await world.join() for _ in range(4)]
    keeper = authors[0]
    contents = [
        publish(keeper, by, 0, step, b"weights %d" % step)
        for by, step in zip(authors[1:], (1, 8, 9), strict=True)
    ]
    clock.ahead = 10 * GRACE
    await collect(keeper.node)
    assert all(map(keeper.node.blobs.complete, contents))

    set_quota(keeper, 0)
    assert await make_room(keeper.node, 1)
    assert [keeper.node.blobs.complete(content) for content in contents] == [False, True, True]


async def test_heads_that_name_nothing_real_have_nobodys_work_thrown_away(
    world: PeerWorld, clock: Clock
) -> None:
    author, keeper, liar, other_liar = [await world.join() for _ in range(4)]
    real = publish(keeper, author, 0, 5, b"weights")
    for by in (liar, other_liar):
        keeper.heads.add(head_of(by, 0, 2**46, by.node.identity.author).seal(by.node.identity))

    clock.ahead = 10 * GRACE
    set_quota(keeper, -1)
    await collect(keeper.node)

    assert keeper.node.blobs.complete(real)


async def test_own_newest_work_is_kept_whatever_the_quota_and_whatever_the_rank(
    world: PeerWorld, clock: Clock
) -> None:
    me, *others = [await world.join() for _ in range(4)]
    mine = publish(me, me, 0, 1, b"my weights")
    for step, other in enumerate(others, 10):
        publish(me, other, 0, step, b"weights %d" % step)
    me.node.config = replace(me.node.config, store_quota=0)

    clock.ahead = 10 * GRACE
    await collect(me.node)

    assert me.node.blobs.complete(mine)


async def test_own_newest_work_of_another_run_is_kept(world: PeerWorld, clock: Clock) -> None:
    me = await world.join()
    folder = me.node.home.runs_dir / ("ab" * 32) / "heads"
    mine = me.node.blobs.add_bytes(b"elsewhere", "checkpoint", "weights.safetensors").id
    head = replace(head_of(me, 0, 1, mine), run=b"\xab" * 32)
    HeadBook(folder, b"\xab" * 32, me.run.slots()).add(head.seal(me.node.identity))
    sealed = me.node.blobs.chunks.put(b"the record of a run")

    clock.ahead = 10 * garbage_collection.STRAY
    await collect(me.node)

    assert me.node.blobs.complete(mine)
    assert not me.node.blobs.chunks.has(sealed), "of no run that this home knows"
    assert me.node.blobs.chunks.has(me.run_id)


async def test_what_a_run_that_was_left_is_made_of_goes_where_room_is_needed(
    world: PeerWorld, clock: Clock
) -> None:
    me, other = await world.join(), await world.join()
    sealed = replace(me.run, name="left", author=me.node.identity.author).seal(me.node.identity)
    left_run = me.node.blobs.chunks.put(sealed)
    shard = await hold(me, 1)
    me.run = replace(me.run, shards=(me.run.shards[0], me.run.shards[0]))
    book = HeadBook(me.node.home.runs_dir / left_run.hex() / "heads", left_run, (0,))
    mine, others = [
        me.node.blobs.add_bytes(data, "checkpoint", "weights").id for data in (b"mine", b"others")
    ]
    for by, content in ((me, mine), (other, others)):
        head = replace(head_of(by, 0, 1, content), run=left_run)
        book.add(head.seal(by.node.identity))
    odd = me.node.blobs.add_bytes(b"nobody knows", "dataset", "odd").id

    clock.ahead = 10 * garbage_collection.STRAY
    await collect(me.node)
    assert all(map(me.node.blobs.complete, (shard, mine, others, odd)))

    set_quota(me, 0)
    await make_room(me.node, 1 << 40)
    assert me.node.blobs.known().keys() == {mine}
    assert me.node.blobs.chunks.has(left_run)


async def test_whoever_begins_to_fetch_what_is_being_collected_has_it_in_the_end(
    world: PeerWorld, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    author, keeper, other = [await world.join() for _ in range(3)]
    old = publish(keeper, author, 0, 1, b"old weights")
    publish(other, author, 0, 1, b"old weights")
    await collect(keeper.node)
    keeper.offers.append({old: keeper.heads.of(0)[0]})
    publish(keeper, author, 0, 2, b"new weights")
    clock.ahead = GRACE + 60
    await other.announcer.everything()
    dropping, released, drop = threading.Event(), threading.Event(), keeper.node.blobs.drop

    def slow(blob: bytes) -> None:
        dropping.set()
        assert released.wait(20)
        drop(blob)

    monkeypatch.setattr(keeper.node.blobs, "drop", slow)
    collecting_all = asyncio.create_task(collect(keeper.node))
    await meanwhile(dropping.is_set)
    fetching = asyncio.create_task(keeper.fetch(old))
    await meanwhile(lambda: bool(keeper.node.in_use))
    released.set()
    await collecting_all
    await fetching

    assert keeper.node.blobs.complete(old)


async def test_publishing_at_the_quota_lets_the_oldest_superseded_go_first(
    world: PeerWorld,
) -> None:
    author, keeper = await world.join(), await world.join()
    old = [publish(keeper, author, 0, step, b"weights %03d" % step * 1000) for step in range(3)]
    for age, content in enumerate(reversed(old)):
        keeper.node.blobs.note_use(content, keeper.node.clock() - 100 * (age + 1))
    publish(keeper, author, 0, 9, b"new")
    set_quota(keeper, 0)

    assert await make_room(keeper.node, 1)
    assert [keeper.node.blobs.complete(content) for content in old] == [False, True, True]
    assert await make_room(keeper.node, 1)
    assert not await make_room(keeper.node, 1 << 40)
    assert not any(map(keeper.node.blobs.complete, old))


async def test_a_fetch_that_was_left_half_done_goes_when_nobody_wants_it(
    world: PeerWorld, clock: Clock
) -> None:
    keeper = await world.join()
    other = await world.join()
    wanted, unwanted = manifest_of(0), other.node.blobs.add_bytes(b"x" * 100, "checkpoint", "w")
    keeper.node.blobs.add_manifest(wanted.encode())
    keeper.node.blobs.add_manifest(unwanted.encode())

    clock.ahead = GRACE + 60
    keeper.node.in_use[unwanted.id] += 1
    await collect(keeper.node)
    assert keeper.node.blobs.known().keys() == {wanted.id, unwanted.id}

    keeper.node.in_use.clear()
    clock.ahead += GRACE + 60
    await collect(keeper.node)
    assert keeper.node.blobs.known().keys() == {wanted.id}


async def test_over_the_quota_a_current_content_goes_when_enough_others_prove_to_hold_it(
    world: PeerWorld,
) -> None:
    keeper, *others = [await world.join() for _ in range(4)]
    for peer in (keeper, *others):
        await hold(peer, 0)
    set_quota(keeper, -1)

    await collect(keeper.node)

    assert not keeper.node.blobs.complete(manifest_of(0).id)
    assert len(await keeper.fetcher.providers(manifest_of(0).id)) == 3


async def test_a_content_that_too_few_others_hold_stays_over_the_quota(world: PeerWorld) -> None:
    keeper, *others = [await world.join() for _ in range(3)]
    for peer in (keeper, *others):
        await hold(peer, 0)
    set_quota(keeper, -1)

    await collect(keeper.node)

    assert keeper.node.blobs.complete(manifest_of(0).id)
    assert len(await others[0].fetcher.providers(manifest_of(0).id)) == 2


async def test_providers_who_only_say_so_make_nobody_drop_the_last_copy(world: PeerWorld) -> None:
    keeper = await world.join()
    content = await hold(keeper, 0)
    for _ in range(5):
        liar = await world.join(serve=has_nothing)
        await liar.announcer.content(content)
    set_quota(keeper, -1)

    await collect(keeper.node)

    assert keeper.node.blobs.complete(content)
    seeker = await world.join()
    providers = await seeker.fetcher.providers(content)
    assert keeper.node.identity.author in {source.author for source in providers}


async def test_holders_who_all_need_room_do_not_all_drop_one_content(world: PeerWorld) -> None:
    holders = [await world.join() for _ in range(6)]
    for holder in holders:
        await hold(holder, 0)
        set_quota(holder, -1)

    await asyncio.gather(*(collect(holder.node) for holder in holders))

    left = [holder for holder in holders if holder.node.blobs.complete(manifest_of(0).id)]
    assert len(left) >= 3
    seeker = await world.join()
    assert len(await seeker.fetcher.providers(manifest_of(0).id)) == len(left)


async def test_what_this_peer_trains_on_is_not_spared(world: PeerWorld) -> None:
    keeper, *others = [await world.join() for _ in range(4)]
    for peer in (keeper, *others):
        await hold(peer, 0)
    set_quota(keeper, -1)
    keeper.node.in_use.update(keeper.run.content_ids())

    await collect(keeper.node)

    assert keeper.node.blobs.complete(manifest_of(0).id)


async def test_a_head_whose_content_is_let_go_is_no_longer_passed_on(
    world: PeerWorld, clock: Clock
) -> None:
    authors = [await world.join() for _ in range(4)]
    keeper = authors[0]
    for step, by in enumerate(authors[1:], 1):
        publish(keeper, by, 0, step, b"weights %d" % step)
    clock.ahead = GRACE + 60
    await keeper.announcer.everything()
    set_quota(keeper, 0)

    assert await make_room(keeper.node, 1, grace=GRACE)

    await authors[1].survey()
    assert {head.step for head in authors[1].heads.of(0)} == {2, 3}
    entries = await authors[1].swarm.lookup(heads_key(keeper.run_id, 0))
    assert [entry.owner for entry in entries] == [keeper.node.identity.author]


async def test_publishing_at_the_quota_collects_first_and_publishes_in_any_case(
    world: PeerWorld, tmp_path: Path
) -> None:
    author = await world.join()
    set_quota(author, 10_000)
    published = []
    for step in range(1, 4):
        file = tmp_path / "checkpoint.safetensors"
        file.write_bytes(b"weights %d" % step * 1000)
        head = await publish_file(author, Checkpoint(file, 0, step, step, 1.0, 1.0, None))
        published.append(head.manifest)
        await author.announcer.everything()
        await asyncio.sleep(1)

    assert [author.node.blobs.complete(content) for content in published] == [False, True, True]
    assert len(await (await world.join()).fetcher.providers(published[-1])) == 1
    assert await (await world.join()).fetcher.providers(published[0]) == []


async def test_what_comes_into_use_while_it_is_being_spared_stays(
    world: PeerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, *others = [await world.join() for _ in range(4)]
    for peer in (keeper, *others):
        await hold(peer, 0)
    set_quota(keeper, -1)

    async def proven(peer: Membership, content: bytes, enough: int) -> int:
        keeper.node.in_use.update(keeper.run.content_ids())
        return enough

    monkeypatch.setattr(garbage_collection, "proven_providers", proven)
    await collect(keeper.node)

    assert keeper.node.blobs.complete(manifest_of(0).id)
    assert len(await others[0].fetcher.providers(manifest_of(0).id)) == 3


async def test_what_is_let_go_one_after_the_other_stays_when_it_comes_into_use(
    world: PeerWorld, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    author, keeper = await world.join(), await world.join()
    first, second = [publish(keeper, author, 0, step, b"weights %d" % step) for step in (1, 2)]
    keeper.node.blobs.note_use(first, keeper.node.clock() - 100)
    publish(keeper, author, 0, 3, b"newest")
    clock.ahead = GRACE + 60
    set_quota(keeper, 0)
    drop = keeper.node.blobs.drop

    def dropping(content: bytes) -> None:
        drop(content)
        keeper.node.in_use[second] += 1

    monkeypatch.setattr(keeper.node.blobs, "drop", dropping)
    await make_room(keeper.node, 1 << 40)

    assert not keeper.node.blobs.complete(first)
    assert keeper.node.blobs.complete(second)


async def test_publications_at_the_quota_do_not_throw_each_other_away(
    world: PeerWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = await world.join()
    author.node.config = replace(author.node.config, store_quota=0)
    reached, released, add = asyncio.Event(), threading.Event(), author.heads.add
    loop = asyncio.get_running_loop()

    def slow(sealed: bytes, *, own: bool) -> Head:
        loop.call_soon_threadsafe(reached.set)
        released.wait(20)
        return add(sealed, own=own)

    async def publish_slot(slot: int) -> Head:
        file = tmp_path / f"{slot}.safetensors"
        file.write_bytes(b"weights of %d" % slot)
        return await publish_file(author, Checkpoint(file, slot, 1, 1, 1.0, 1.0, None))

    monkeypatch.setattr(author.heads, "add", slow)
    first = asyncio.create_task(publish_slot(0))
    await reached.wait()
    second = asyncio.create_task(publish_slot(1))
    await asyncio.to_thread(time.sleep, 0.3)
    released.set()

    for head in await asyncio.gather(first, second):
        assert author.node.blobs.complete(head.manifest)


@pytest.mark.parametrize(
    "let_go",
    [partial(garbage_collection._evict, least=3), partial(garbage_collection._drop, why="old")],
)
async def test_whoever_is_interrupted_while_letting_go_announces_again_what_it_kept(
    world: PeerWorld, monkeypatch: pytest.MonkeyPatch, let_go: LetGo
) -> None:
    keeper, asker = await world.join(), await world.join()
    content = await hold(keeper, 0)
    given_up = asyncio.Event()

    async def never(*_: object) -> bool:
        given_up.set()
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr(garbage_collection, "proven_providers", never)
    monkeypatch.setattr(keeper.node, "let_go", never)
    letting_go = asyncio.create_task(let_go(keeper.node, content))
    await given_up.wait()
    await end_tasks(letting_go)

    await keeper.announcer.everything()
    assert [source.author for source in await asker.fetcher.providers(content)] == [
        keeper.node.identity.author
    ]


async def test_files_that_no_training_uses_make_room_while_another_trains(
    world: PeerWorld, clock: Clock
) -> None:
    author, keeper = await world.join(), await world.join()
    shard = await hold(keeper, 0)
    head = publish(keeper, author, 0, 1, b"weights" * 1000)
    for content in (shard, head):
        await keeper.node.path(content)
    keeper.node.in_use.update(keeper.run.content_ids())
    clock.ahead = GRACE + 60
    set_quota(keeper, 0)

    assert await make_room(keeper.node, 1000)

    assert keeper.node.blobs.files().keys() == {shard}
    assert keeper.node.blobs.complete(head)
