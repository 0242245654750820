"""Copies of thin content: within the quota, and no more than needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.peer import collecting, replicating
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.replicating import replicate
from tests.peer.worlds import PeerWorld, content_of, has_nothing, head_of, hold, manifest_of

SMALL, LARGE = manifest_of(1), manifest_of(0)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicating, "MAX_BACKOFF", 0.0)
    monkeypatch.setattr(replicating, "PATIENCE", 0.5)
    monkeypatch.setattr(replicating, "DOUBT", 0.0)
    monkeypatch.setattr(collecting, "SETTLE", (0.0, 0.0))


def set_quota(peer: Peer, room: int) -> None:
    """Leave so many bytes of room beyond what is stored now."""
    peer.config = replace(peer.config, store_quota=peer.blobs.usage() + room)


async def test_a_thin_shard_is_copied_and_a_thick_one_is_not(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holders = [await world.join() for _ in range(3)]
    peer = await world.join()
    await hold(holders[0], 0)
    for holder in holders:
        await hold(holder, 1)

    await replicate(peer)

    assert peer.blobs.complete(LARGE.id)
    assert not peer.blobs.complete(SMALL.id)
    assert len(await holders[0].fetcher.providers(LARGE.id)) == 1


async def test_a_seed_copies_what_enough_others_hold_too(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    for _ in range(3):
        await hold(await world.join(), 1)
    seed = await world.join()
    seed.config = replace(seed.config, seed_only=True)

    await replicate(seed)

    assert seed.blobs.complete(SMALL.id)


async def test_the_number_of_replicas_is_a_setting(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    await hold(await world.join(), 1)
    peer = await world.join()
    peer.config = replace(peer.config, replicas=1)
    await replicate(peer)
    assert not peer.blobs.complete(SMALL.id)
    peer.config = replace(peer.config, replicas=2)
    await replicate(peer)
    assert peer.blobs.complete(SMALL.id)


async def test_what_does_not_fit_into_the_quota_is_left_and_what_fits_is_copied(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    for index in (0, 1):
        await hold(holder, index)
    set_quota(peer, 20_000)

    for _ in range(2):
        await replicate(peer)

    assert peer.blobs.complete(SMALL.id)
    assert not peer.blobs.complete(LARGE.id)
    assert peer.blobs.usage() <= peer.config.store_quota


async def test_at_the_quota_nothing_is_copied_and_own_work_is_stored_all_the_same(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    await hold(holder, 1)
    set_quota(peer, 0)

    await replicate(peer)
    assert not peer.blobs.known()

    own = peer.blobs.add_bytes(b"own work", "checkpoint", "own").id
    peer.heads.add(head_of(peer, 0, 9, own).seal(peer.identity))
    await collecting.collect(peer)
    assert peer.blobs.complete(own)


async def test_content_that_others_hold_makes_room_for_one_that_nearly_nobody_has(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holders = [await world.join() for _ in range(3)]
    peer = await world.join()
    for one in (*holders, peer):
        await hold(one, 0)
    await hold(holders[0], 1)
    set_quota(peer, 0)

    await replicate(peer)

    assert peer.blobs.complete(SMALL.id)
    assert not peer.blobs.complete(LARGE.id)
    assert len(await peer.fetcher.providers(LARGE.id)) == 3
    providers = await holders[0].fetcher.providers(LARGE.id)
    assert peer.identity.author not in {source.author for source in providers}


async def test_made_up_providers_keep_nobody_from_copying_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    await hold(holder, 0)
    await hold(peer, 1)
    for _ in range(4):
        liar = await world.join(serve=has_nothing)
        await liar.announcer.content(LARGE.id)
    await replicate(peer)
    assert not peer.blobs.complete(LARGE.id)

    monkeypatch.setattr(replicating, "DOUBT", 1.0)
    await replicate(peer)
    assert peer.blobs.complete(LARGE.id)


async def test_a_doubt_copies_nothing_where_enough_peers_prove_to_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicating, "DOUBT", 1.0)
    world = PeerWorld(tmp_path)
    for _ in range(3):
        await hold(await world.join(), 1)
    peer = await world.join()
    await replicate(peer)
    assert not peer.blobs.known()


async def test_a_damaged_content_is_healed_however_many_others_hold_it(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holders = [await world.join() for _ in range(3)]
    peer = await world.join()
    for one in (*holders, peer):
        await hold(one, 0)
    damaged = LARGE.chunks[1]
    file = peer.home.store_dir / damaged.hex()[:2] / damaged.hex()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert not all(peer.blobs.scrub())

    await peer.announcer.everything()
    providers = await holders[0].fetcher.providers(LARGE.id)
    assert peer.identity.author not in {source.author for source in providers}

    await replicate(peer)
    assert peer.blobs.read(LARGE.id) == content_of(0)
    assert len(await holders[0].fetcher.providers(LARGE.id)) == 3


async def test_a_head_that_names_nothing_real_holds_nobody_up(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, liar, peer = [await world.join() for _ in range(3)]
    peer.heads.add(head_of(liar, 0, 2**40, b"n" * 32).seal(liar.identity))
    await liar.announcer.content(b"n" * 32)
    await hold(holder, 0)
    await hold(holder, 1)

    await replicate(peer)

    assert peer.blobs.complete(SMALL.id) and peer.blobs.complete(LARGE.id)
