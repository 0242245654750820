"""Content for use here: within the quota, and never larger than what it is asked for can be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent, DiskFull, NotAvailable
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.transfer.obtaining import checkpoint_limit, obtain
from paris_p2p.peer.upkeep import store_quota
from paris_p2p.peer.upkeep.garbage_collection import GRACE
from paris_p2p.records.resume import Resume
from tests.peer.worlds import PeerWorld, content_of, head_of, hold, manifest_of


def set_quota(peer: Membership, room: int) -> None:
    peer.node.config = replace(peer.node.config, store_quota=peer.node.blobs.usage() + room)


async def obtained(peer: Membership, content: bytes) -> None:
    async for _ in obtain(peer, [content], patience=0.5):
        pass


async def test_the_quota_has_room_for_the_content_and_for_the_file_that_is_made_of_it(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content, size = await hold(holder, 0), manifest_of(0).size
    set_quota(seeker, 2 * size - 1)

    with pytest.raises(DiskFull, match=r"store's quota of .* has no room .* store_quota"):
        await obtained(seeker, content)
    assert not any(map(seeker.node.blobs.chunks.has, manifest_of(0).chunks))

    set_quota(seeker, 2 * size + 2000)
    await obtained(seeker, content)
    assert (await seeker.node.path(content)).read_bytes() == content_of(0)
    assert seeker.node.blobs.usage() <= seeker.node.config.store_quota
    assert not seeker.node.promises


async def test_what_is_here_as_a_whole_needs_room_for_its_file_alone(tmp_path: Path) -> None:
    seeker = await PeerWorld(tmp_path).join()
    content = await hold(seeker, 0)
    set_quota(seeker, 0)
    with pytest.raises(DiskFull):
        await obtained(seeker, content)

    set_quota(seeker, manifest_of(0).size)
    await obtained(seeker, content)
    set_quota(seeker, 0)
    await obtained(seeker, content)


async def test_what_nobody_should_miss_makes_room_first(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 1)
    old = seeker.node.blobs.add_bytes(b"o" * 10_000, "checkpoint", "superseded").id
    seeker.node.blobs.note_use(old, seeker.node.clock() - GRACE - 60)
    set_quota(seeker, 0)

    await obtained(seeker, content)

    assert not seeker.node.blobs.complete(old)
    assert seeker.node.blobs.usage() <= seeker.node.config.store_quota


async def test_nothing_is_let_go_for_what_would_not_fit_all_the_same(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    old = seeker.node.blobs.add_bytes(b"o" * 10_000, "checkpoint", "superseded").id
    seeker.node.blobs.note_use(old, seeker.node.clock() - GRACE - 60)
    set_quota(seeker, 0)

    with pytest.raises(DiskFull):
        await obtained(seeker, content)

    assert seeker.node.blobs.complete(old)


async def test_two_fetches_do_not_count_on_the_same_room(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    contents = []
    for slot in (0, 1):
        content = holder.node.blobs.add_bytes(bytes([slot]) * 300_000, "checkpoint", "weights").id
        seeker.heads.add(head_of(holder, slot, 1, content).seal(holder.node.identity))
        await holder.announcer.content(content)
        contents.append(content)
    set_quota(seeker, 700_000)

    found = await asyncio.gather(
        *(obtained(seeker, one) for one in contents), return_exceptions=True
    )

    assert [isinstance(one, DiskFull) for one in found if one is not None] == [True]
    assert sum(map(seeker.node.blobs.complete, contents)) == 1
    assert seeker.node.blobs.usage() <= seeker.node.config.store_quota


async def test_what_nothing_names_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = holder.node.blobs.add_bytes(b"anything", "checkpoint", "weights").id
    await holder.announcer.content(content)

    with pytest.raises(NotAvailable, match="no record of the run"):
        await obtained(seeker, content)

    assert not seeker.node.blobs.chunks.has(content)


async def test_what_is_asked_for_as_a_checkpoint_is_none_the_larger_for_a_resume_state_of_it(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    liar, seeker = await world.join(), await world.join()
    large = bytes(seeker.run.checkpoint_limit(0) + 1)
    content = liar.node.blobs.add_bytes(large, "resume", "state").id
    resume = Resume(liar.run_id, 0, liar.node.identity.author, 9, 9, content, len(large), 1000.0)
    seeker.resumes.add(resume.seal(liar.node.identity))
    await liar.announcer.content(content)
    assert checkpoint_limit(seeker, content) == seeker.run.resume_limit(0)

    seeker.heads.add(head_of(liar, 0, 9, content).seal(liar.node.identity))

    assert checkpoint_limit(seeker, content) == seeker.run.checkpoint_limit(0)
    with pytest.raises(BadContent, match="over"):
        async for _ in obtain(seeker, [content], checkpoint_limit(seeker, content)):
            pass


async def test_what_fits_does_not_wait_for_the_room_that_is_made_for_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    large, small = await hold(holder, 0), await hold(holder, 1)
    set_quota(seeker, 100_000)
    making, small_is_here = asyncio.Event(), asyncio.Event()

    async def make_room_for(peer: Membership, size: int, *, evicting: bool) -> bool:
        making.set()
        await small_is_here.wait()
        return False

    monkeypatch.setattr(store_quota, "make_room_for", make_room_for)
    waiting = asyncio.create_task(obtained(seeker, large))
    await making.wait()
    async with asyncio.timeout(10):
        await obtained(seeker, small)
    small_is_here.set()

    with pytest.raises(DiskFull):
        await waiting
    assert seeker.node.blobs.complete(small)
    assert not seeker.node.promises
