"""Copies of thin content: within the quota, and no more than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.network.chunk_protocol import serve_chunks
from paris_p2p.network.swarm import Stream
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.upkeep import garbage_collection, replication
from paris_p2p.peer.upkeep.replication import replicate
from paris_p2p.records.codec import encode
from paris_p2p.records.head import Head
from paris_p2p.records.keys import heads_key, resume_key
from paris_p2p.records.manifest import CHUNK_SIZE, MAX_SIZE, Manifest
from paris_p2p.records.resume import Resume
from tests.peer.worlds import PeerWorld, content_of, has_nothing, head_of, hold, manifest_of

SMALL, LARGE = manifest_of(1), manifest_of(0)


@pytest.fixture(autouse=True)
def no_doubts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "DOUBT", 0.0)


def set_quota(peer: Membership, room: int) -> None:
    """Leave so many bytes of room beyond what is stored now."""
    peer.node.config = replace(peer.node.config, store_quota=peer.node.blobs.usage() + room)


async def test_a_thin_shard_is_copied_and_a_thick_one_is_not(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holders = [await world.join() for _ in range(3)]
    peer = await world.join()
    await hold(holders[0], 0)
    for holder in holders:
        await hold(holder, 1)

    await replicate(peer.node)

    assert peer.node.blobs.complete(LARGE.id)
    assert not peer.node.blobs.complete(SMALL.id)
    assert len(await holders[0].fetcher.providers(LARGE.id)) == 1


async def test_a_seed_copies_what_enough_others_hold_too(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    for _ in range(3):
        await hold(await world.join(), 1)
    seed = await world.join()
    seed.node.config = replace(seed.node.config, seed_only=True)

    await replicate(seed.node)

    assert seed.node.blobs.complete(SMALL.id)


async def test_the_number_of_replicas_is_a_setting(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    await hold(await world.join(), 1)
    peer = await world.join()
    peer.node.config = replace(peer.node.config, replicas=1)
    await replicate(peer.node)
    assert not peer.node.blobs.complete(SMALL.id)
    peer.node.config = replace(peer.node.config, replicas=2)
    await replicate(peer.node)
    assert peer.node.blobs.complete(SMALL.id)


async def test_what_does_not_fit_into_the_quota_is_left_and_what_fits_is_copied(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    for index in (0, 1):
        await hold(holder, index)
    set_quota(peer, 20_000)

    for _ in range(2):
        await replicate(peer.node)

    assert peer.node.blobs.complete(SMALL.id)
    assert not peer.node.blobs.complete(LARGE.id)
    assert peer.node.blobs.usage() <= peer.node.config.store_quota


async def test_at_the_quota_nothing_is_copied_and_own_work_is_stored_all_the_same(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    await hold(holder, 1)
    set_quota(peer, 0)

    await replicate(peer.node)
    assert not peer.node.blobs.known()

    own = peer.node.blobs.add_bytes(b"own work", "checkpoint", "own").id
    peer.heads.add(head_of(peer, 0, 9, own).seal(peer.node.identity))
    await garbage_collection.collect(peer.node)
    assert peer.node.blobs.complete(own)


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

    await replicate(peer.node)

    assert peer.node.blobs.complete(SMALL.id)
    assert not peer.node.blobs.complete(LARGE.id)
    assert len(await peer.fetcher.providers(LARGE.id)) == 3
    providers = await holders[0].fetcher.providers(LARGE.id)
    assert peer.node.identity.author not in {source.author for source in providers}


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
    await replicate(peer.node)
    assert not peer.node.blobs.complete(LARGE.id)

    monkeypatch.setattr(replication, "DOUBT", 1.0)
    await replicate(peer.node)
    assert peer.node.blobs.complete(LARGE.id)


async def test_a_doubt_copies_nothing_where_enough_peers_prove_to_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "DOUBT", 1.0)
    world = PeerWorld(tmp_path)
    for _ in range(3):
        await hold(await world.join(), 1)
    peer = await world.join()
    await replicate(peer.node)
    assert not peer.node.blobs.known()


async def test_a_damaged_content_is_healed_however_many_others_hold_it(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holders = [await world.join() for _ in range(3)]
    peer = await world.join()
    for one in (*holders, peer):
        await hold(one, 0)
    damaged = LARGE.chunks[1]
    file = peer.node.home.store_dir / damaged.hex()[:2] / damaged.hex()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert not all(peer.node.blobs.scrub())

    await peer.announcer.everything()
    providers = await holders[0].fetcher.providers(LARGE.id)
    assert peer.node.identity.author not in {source.author for source in providers}

    await replicate(peer.node)
    assert peer.node.blobs.read(LARGE.id) == content_of(0)
    assert len(await holders[0].fetcher.providers(LARGE.id)) == 3


async def test_a_head_that_names_nothing_real_holds_nobody_up(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, liar, peer = [await world.join() for _ in range(3)]
    peer.heads.add(head_of(liar, 0, 2**40, b"n" * 32).seal(liar.node.identity))
    await liar.announcer.content(b"n" * 32)
    await hold(holder, 0)
    await hold(holder, 1)

    await replicate(peer.node)

    assert peer.node.blobs.complete(SMALL.id) and peer.node.blobs.complete(LARGE.id)


async def invented(world: PeerWorld, number: int, slot: int = 0) -> list[Head]:
    """Heads of as many authors of one network, the furthest ones, of content that nobody has."""
    heads = []
    for index in range(number):
        liar = await world.join(serve=has_nothing, host="10.66.0.9")
        head = head_of(
            liar, slot, 10**9 + index, liar.node.identity.author, created=liar.node.clock()
        )
        sealed = encode([head.seal(liar.node.identity)])
        await liar.swarm.store(heads_key(liar.run_id, slot), sealed, liar.node.clock() + 100)
        heads.append(head)
    return heads


async def published(author: Membership, step: int, slot: int = 0) -> Head:
    content = author.node.blobs.add_bytes(b"weights of step %d" % step, "checkpoint", "weights").id
    head = head_of(author, slot, step, content, created=author.node.clock())
    author.heads.add(head.seal(author.node.identity), own=True)
    await author.announcer.everything()
    return head


async def copied(keepers: Sequence[Membership]) -> None:
    """A round of every keeper's life."""
    for keeper in keepers:
        await replicate(keeper.node)
        await keeper.announcer.everything()
        await garbage_collection.collect(keeper.node)


async def test_invented_heads_do_not_keep_an_honest_one_from_outliving_its_trainer(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    keepers = [await world.join(host=f"10.2.{number}.1") for number in range(3)]
    trainer = await world.join(host="10.1.0.1")
    lies = await invented(world, 20)
    for liar in [
        peer for peer in world.peers if peer.swarm.addresses()[0].startswith("/ip4/10.66")
    ]:
        await liar.announcer.content(lies[-1].manifest)
    flooder = await world.join(host="10.66.0.9")
    for step in (2 * 10**9, 3 * 10**9):
        await published(flooder, step)
    honest = await published(trainer, 600)

    for _ in range(2):
        await copied(keepers)
    world.network.drop(trainer.node.identity.author)
    for _ in range(2):
        await copied(keepers)

    holders = [keeper for keeper in keepers if keeper.node.blobs.complete(honest.manifest)]
    assert len(holders) >= 2, "with the trainer, as many as there should be"
    newcomer = await world.join(host="10.3.0.1")
    await newcomer.survey()
    assert honest in newcomer.heads.of(0)
    await newcomer.fetch(honest.manifest)


async def test_many_heads_of_one_network_with_real_content_have_one_place(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    trainer = await world.join(host="10.1.0.1")
    keepers = [await world.join(host=f"10.2.{number}.1") for number in range(3)]
    flooders = [await world.join(host="10.66.0.9") for _ in range(12)]
    lies = [await published(liar, 10**9 + step) for step, liar in enumerate(flooders)]
    honest = await published(trainer, 600)

    for _ in range(3):
        await copied(keepers)
        world.network.drop(trainer.node.identity.author)

    assert all(keeper.node.blobs.complete(honest.manifest) for keeper in keepers[:2])
    copies = [lie for lie in lies if any(k.node.blobs.complete(lie.manifest) for k in keepers)]
    assert len(copies) == 1


async def test_a_resume_state_that_claims_more_than_one_can_have_lets_nothing_go(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holders = [await world.join() for _ in range(3)]
    liar, peer = await world.join(), await world.join()
    for one in (*holders, peer):
        await hold(one, 0)
    heads = []
    for step, author in enumerate(holders, 1):
        content = peer.node.blobs.add_bytes(
            b"weights of step %d" % step, "checkpoint", "weights"
        ).id
        peer.heads.add(head_of(author, 0, step, content).seal(author.node.identity))
        peer.node.blobs.note_use(content, peer.node.clock() - garbage_collection.GRACE - 60)
        heads.append(content)
    set_quota(peer, 0)
    for size in (MAX_SIZE, peer.run.resume_limit(1)):
        chunks = [number.to_bytes(32, "big") for number in range(-(-size // CHUNK_SIZE))]
        state = Manifest(size, CHUNK_SIZE, tuple(chunks), "resume", "state")
        resume = Resume(
            liar.run_id, 1, liar.node.identity.author, 9, 9, state.id, size, liar.node.clock()
        )
        liar.resumes.add(resume.seal(liar.node.identity), own=True)
        liar.node.blobs.add_manifest(state.encode())
        sealed = encode([resume.seal(liar.node.identity)])
        await liar.swarm.store(resume_key(liar.run_id, 1), sealed, liar.node.clock() + 100)
        await liar.announcer.content(state.id)

        await replicate(peer.node)

        assert all(map(peer.node.blobs.complete, (LARGE.id, *heads)))


async def test_what_is_condemned_is_not_copied(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    liar, peer = await world.join(), await world.join()
    head = await published(liar, 2**40)
    peer.node.refusals.condemn(head.manifest, head.author, "head", "it diverges")

    await replicate(peer.node)

    assert head.manifest not in peer.node.blobs.known()


async def test_what_nobody_gave_comes_after_what_somebody_may_have(tmp_path: Path) -> None:
    """All on one network, where it does not tell the honest from the liars."""
    world = PeerWorld(tmp_path)
    trainer, peer = await world.join(), await world.join()
    for step in range(12):
        liar = await world.join(serve=has_nothing)
        lie = head_of(liar, 0, 10**9 + step, liar.node.identity.author, created=liar.node.clock())
        sealed = encode([lie.seal(liar.node.identity)])
        await liar.swarm.store(heads_key(liar.run_id, 0), sealed, liar.node.clock() + 100)
        await liar.announcer.content(lie.manifest)
    honest = await published(trainer, 600)

    for _ in range(3):
        await replicate(peer.node)

    assert peer.node.blobs.complete(honest.manifest)


async def trickle(author: bytes, stream: Stream) -> None:
    """A chunk service that sends a manifest at once and of the rest a chunk a minute."""

    async def read(chunk: bytes) -> bytes:
        if chunk == LARGE.id:
            return LARGE.encode()
        await asyncio.sleep(60)
        start = LARGE.chunks.index(chunk) * CHUNK_SIZE
        return content_of(0)[start : start + CHUNK_SIZE]

    await serve_chunks(stream, read)


async def test_a_copy_that_comes_too_slowly_is_left_for_a_while(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    tar_pit, peer = await world.join(serve=trickle), await world.join()
    await hold(tar_pit, 0)

    await replicate(peer.node)

    assert not peer.node.blobs.complete(LARGE.id)
    assert LARGE.id in peer.unserved
    assert not peer.node.promises and not peer.node.in_use


async def test_a_slow_copy_does_not_keep_another_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    for index in (0, 1):
        await hold(holder, index)
    both, began = asyncio.Event(), set[bytes]()

    async def copy(peer: Membership, content: bytes) -> None:
        began.add(content)
        if len(began) == 2:
            both.set()
        async with asyncio.timeout(5):
            await both.wait()

    monkeypatch.setattr(replication, "_copy", copy)
    await replicate(peer.node)

    assert began == {LARGE.id, SMALL.id}


async def test_what_is_wanted_no_more_when_its_turn_comes_is_not_copied(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, peer = await world.join(), await world.join()
    content = holder.node.blobs.add_bytes(b"superseded", "checkpoint", "weights").id
    await holder.announcer.content(content)

    await replication._copy(peer, content)

    assert not peer.node.blobs.complete(content)
