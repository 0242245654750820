"""One node in several runs: what they share, and what stays apart."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.config import PeerConfig
from paris_p2p.errors import BadContent, NotAvailable, UsageProblem
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.peer.books.survey import read_peers
from paris_p2p.peer.jobs import Jobs
from paris_p2p.peer.joining import join_for_good, leave_for_good
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.run_choice import (
    choose,
    expect_same_swarm,
    read_joined,
    remember_joined,
    session_runs,
)
from paris_p2p.peer.serving import ChunkReader
from paris_p2p.peer.training.claiming import claimant_of
from paris_p2p.peer.training.unattended import UnattendedTraining, turns_of
from paris_p2p.peer.upkeep.garbage_collection import make_room_for
from paris_p2p.peer.upkeep.replication import alternating, replicate
from paris_p2p.records.manifest import CHUNK_SIZE
from paris_p2p.records.run import run_id
from tests.peer.several_runs import another_run, in_both, run_of
from tests.peer.worlds import PeerWorld, eventually, head_of, hold, manifest_of


def publish(peer: Membership, slot: int, step: int, weights: bytes) -> bytes:
    """A checkpoint of this peer's own in the store, and its head in the book."""
    content = peer.node.blobs.add_bytes(weights, "checkpoint", "weights").id
    head = replace(head_of(peer, slot, step, content), size=len(weights))
    peer.heads.add(head.seal(peer.node.identity), own=True)
    return content


async def test_a_run_is_chosen_by_its_id_the_beginning_of_that_or_its_name(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    first, second = await in_both(world, another_run("another-run"))
    node = first.node
    assert choose(node, first.run_id.hex()) is first
    assert choose(node, second.run_id.hex()[:8]) is second
    assert choose(node, "another-run") is second
    with pytest.raises(UsageProblem, match="several runs") as caught:
        choose(node, None)
    assert "test-run" in str(caught.value) and "another-run" in str(caught.value)
    with pytest.raises(UsageProblem, match="no run 'third'"):
        choose(node, "third")
    del node.memberships[second.run_id]
    assert choose(node, None) is first


async def test_a_content_of_two_runs_is_announced_until_neither_has_it(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    seeker = await world.join()
    first, second = await in_both(world, another_run("another-run"))
    content = await hold(first, 0)
    await second.announcer.everything()
    assert len(await seeker.fetcher.providers(content)) == 1

    await first.announcer.withdraw()
    assert content in first.node.provider_records.of(second.run_id)
    await second.announcer.everything()
    assert len(await seeker.fetcher.providers(content)) == 1
    await second.announcer.withdraw()
    assert await seeker.fetcher.providers(content) == []


async def test_what_is_told_for_two_runs_is_told_once_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    await world.join()
    first, second = await in_both(world, another_run("another-run"))
    content = await hold(first, 1)
    told: list[str] = []
    store = first.node.swarm.store

    async def noted(key: str, value: bytes, expires: float) -> bool:
        told.append(key)
        return await store(key, value, expires)

    monkeypatch.setattr(first.node.swarm, "store", noted)
    for membership in (first, second):
        await membership.announcer.everything()
    assert len([key for key in told if content.hex() in key]) == 1
    assert len([key for key in told if key.endswith("/peers")]) == 2


async def test_what_one_run_condemns_stays_while_another_is_made_of_it(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path, sealed=run_of("first", 0))
    liar = await world.join()
    first, second = await in_both(world, run_of("second", 1))
    shard = await hold(second, 1)
    false = head_of(liar, 0, 5, shard)
    first.heads.add(false.seal(liar.node.identity))

    assert await first.condemn(false, "these are no weights")

    assert second.node.blobs.complete(shard)
    with pytest.raises(NotAvailable):
        first.limit(manifest_of(1).id + b"?")


async def test_leases_of_two_runs_know_nothing_of_each_other(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    await world.join()
    first, second = await in_both(world, another_run("another-run"))
    leases = [await claimant_of(one).acquire(0) for one in (first, second)]
    assert [lease.expert for lease in leases] == [0, 0]
    await leases[0].release()
    states = {one.run.name: (await one.survey([0]))[0].winner for one in (first, second)}
    assert states["test-run"] is None
    assert states["another-run"] is not None


async def test_the_run_trained_least_lately_has_the_next_turn(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    first, second = await in_both(world, another_run("another-run"))
    first.slot_folder(0)
    assert turns_of([first, second]) == [second, first]
    second.slot_folder(1)
    folder = first.slot_folder(0)
    later = world.network.clock() + 60

    os.utime(second.slot_folder(1), (later, later))
    assert folder.exists() and turns_of([second, first]) == [first, second]


def test_copies_alternate_between_the_runs() -> None:
    assert alternating([["a1", "a2", "a3"], [], ["b1"]]) == ["a1", "b1", "a2", "a3"]
    assert alternating([]) == []


async def test_a_run_that_cannot_be_looked_at_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    holder = await world.join()
    contents = [await hold(holder, index) for index in range(2)]
    first, second = await in_both(world, another_run("another-run"))

    async def down() -> None:
        raise NotAvailable("nobody is there")

    monkeypatch.setattr(second, "survey", down)
    with pytest.raises(NotAvailable, match="nobody is there"):
        await replicate(first.node)
    assert all(first.node.blobs.complete(content) for content in contents)


async def test_a_run_under_its_share_has_room_made_by_one_over_its_own(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path, sealed=run_of("large", 0))
    other = await world.join()
    large, small = await in_both(world, run_of("small", 1))
    content = await hold(large, 0)
    await hold(other, 0)
    node = large.node
    used = node.blobs.usage()
    node.config = replace(node.config, store_quota=used + 10)
    large.providers[content] = {other.node.identity.author: "n"}

    assert not await make_room_for(large, 1000, evicting=True), "it is over its share"
    assert node.blobs.complete(content)
    assert await make_room_for(small, 1000, evicting=True)
    assert not node.blobs.complete(content)


async def test_a_run_over_its_share_has_no_room_made_by_one_under_its_own(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path, sealed=run_of("large", 0))
    others = [await world.join() for _ in range(3)]
    large, small = await in_both(world, run_of("small", 1))
    shards = [await hold(large, 0), await hold(small, 1)]
    for other in others:
        other_small = await world.take_part(other.node, run_of("small", 1))
        await hold(other_small, 1)
    node = large.node
    node.config = replace(node.config, store_quota=node.blobs.usage() + 10)
    small.providers[shards[1]] = {other.node.identity.author: "n" for other in others}

    assert not await make_room_for(large, 500, evicting=True)
    assert all(node.blobs.complete(shard) for shard in shards)


async def test_leaving_a_run_frees_what_only_it_needed_and_keeps_own_work(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path, sealed=run_of("first", 0))
    other = await world.join()
    first, second = await in_both(world, run_of("second", 1))
    node = first.node
    staying, going = await hold(first, 0), await hold(second, 1)
    own = publish(second, 0, 7, b"own weights")
    others = node.blobs.add_bytes(b"weights of another", "checkpoint", "weights").id
    head = replace(head_of(other, 0, 9, others), run=second.run_id)
    second.heads.add(head.seal(other.node.identity))
    snapshot = second.slot_folder(0) / "snapshot-000000007.safetensors"
    snapshot.write_bytes(b"private")
    remember_joined(node.home, [first.run_id, second.run_id], "")
    await second.announcer.everything()

    await leave_for_good(second)

    assert list(node.memberships) == read_joined(node.home, None) == [first.run_id]
    assert node.blobs.complete(staying) and node.blobs.complete(own)
    assert going not in node.blobs.known() and others not in node.blobs.known()
    assert snapshot.exists()
    assert await read_peers(other.swarm, second.run_id) == []
    assert await other.fetcher.providers(own) == []

    again = await world.take_part(node, run_of("second", 1))
    assert again.heads.newest(0, node.identity.author) is not None


async def test_a_run_is_not_left_while_it_is_trained_nor_the_only_one(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    first, second = await in_both(world, another_run("another-run"))
    second.training.add(0)
    with pytest.raises(UsageProblem, match="trains in the run another-run"):
        await leave_for_good(second)
    assert second.run_id in first.node.memberships
    second.training.clear()
    await leave_for_good(second)
    with pytest.raises(UsageProblem, match="one run at least"):
        await leave_for_good(first)


async def test_a_run_that_is_joined_is_joined_after_the_next_start_too(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder = await world.join()
    other = another_run("another-run")
    second = await world.take_part(holder.node, other)
    for one in (holder, second):
        await one.announcer.everything()
    identity = Identity.generate()
    home = Home(tmp_path / "home")
    home.create()
    config = PeerConfig(run=(holder.run_id.hex(),))
    swarm = world.network.join(identity.author)
    await swarm.connect(holder.swarm.addresses()[0])
    async with world.living(home, identity, swarm, config) as node:
        with pytest.raises(NotAvailable):
            await join_for_good(node, bytes(32))
        joined = await join_for_good(node, run_id(other))
        assert await join_for_good(node, run_id(other)) is joined
        assert len(await read_peers(holder.swarm, run_id(other))) == 2
        assert list(node.memberships) == [holder.run_id, run_id(other)]
    assert read_joined(home, None) == [run_id(other)]

    async with world.living(home, identity, swarm, PeerConfig()) as node:
        assert list(node.memberships) == [run_id(other)]


def test_a_session_has_the_runs_it_names_or_those_joined_before(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(BadContent, match="no run was named"):
        session_runs(home, PeerConfig(), None)
    remember_joined(home, [b"a" * 32, b"b" * 32], "")
    assert session_runs(home, PeerConfig(), None) == [b"a" * 32, b"b" * 32]
    assert session_runs(home, PeerConfig(run=("cd" * 32,)), None) == [bytes.fromhex("cd" * 32)]


@pytest.mark.parametrize(
    "damaged",
    [b"", b"[]", b'{"runs": []}', b'{"swarm": "", "runs": ["ab"]}', b'{"swarm": 7, "runs": []}'],
)
def test_a_damaged_list_of_runs_is_told_and_nothing_is_taken_for_left(
    tmp_path: Path, damaged: bytes
) -> None:
    home = Home(tmp_path)
    home.runs_file.write_bytes(damaged)
    with pytest.raises(BadContent, match=r"runs\.json is damaged"):
        session_runs(home, PeerConfig(), None)


def test_a_home_of_one_swarm_does_not_enter_another(tmp_path: Path) -> None:
    home = Home(tmp_path)
    expect_same_swarm(home, "ab" * 32)
    remember_joined(home, [bytes(32)], "")
    expect_same_swarm(home, "")
    with pytest.raises(UsageProblem, match="in the open swarm") as caught:
        expect_same_swarm(home, "ab" * 32)
    assert "a home of its own" in caught.value.remedy


async def test_a_stranger_of_one_run_has_what_another_names_and_nothing_else(
    tmp_path: Path,
) -> None:
    member, stranger = Identity.generate(), Identity.generate()
    world = PeerWorld(tmp_path, sealed=run_of("open", 0))
    open_ = await world.join()
    node = open_.node
    sealed = another_run("closed", member, node.identity)
    closed = await world.take_part(node, sealed)
    shared, secret = await hold(open_, 0), await hold(closed, 1)
    head = node.blobs.add_bytes(b"members' weights", "checkpoint", "weights")
    closed.heads.add(replace(head_of(closed, 0, 3, head.id), size=16).seal(node.identity), own=True)
    read = ChunkReader(node)

    async def has(identity: Identity, *chunks: bytes) -> list[bool]:
        found = await asyncio.gather(*(read(identity.author, chunk) for chunk in chunks))
        return [data is not None for data in found]

    chunks = [shared, *manifest_of(0).chunks]
    hidden = [secret, *manifest_of(1).chunks, head.id, *head.chunks, closed.run_id]
    assert all(await has(stranger, *chunks, open_.run_id))
    assert not any(await has(stranger, *hidden))
    assert all(await has(member, *chunks, *hidden))


async def test_no_head_of_an_open_run_gives_away_what_members_have(tmp_path: Path) -> None:
    stranger = Identity.generate()
    world = PeerWorld(tmp_path, sealed=run_of("open", 0))
    open_ = await world.join()
    node = open_.node
    closed = await world.take_part(node, another_run("closed", node.identity))
    secret = await hold(closed, 1)
    cut = node.blobs.add_bytes(bytes(CHUNK_SIZE), "checkpoint", "weights")
    size = cut.size + len(node.blobs.chunks.get(secret))
    forged = replace(cut, chunks=(*cut.chunks, secret), size=size)
    forged = node.blobs.add_manifest(forged.encode())
    false = [
        replace(head_of(open_, 0, step, content), author=stranger.author).seal(stranger)
        for step, content in enumerate((secret, forged.id), start=1)
    ]
    open_.heads.hear(0, {sealed: {stranger.author: node.clock() + 60} for sealed in false})
    assert open_.names(secret) and open_.names(forged.id)

    read = ChunkReader(node)
    for chunk in (secret, *manifest_of(1).chunks):
        assert await read(stranger.author, chunk) is None


async def test_what_a_run_names_only_since_a_moment_is_not_given_away_by_what_was_remembered(
    tmp_path: Path,
) -> None:
    stranger = Identity.generate()
    world = PeerWorld(tmp_path, sealed=run_of("open", 0))
    open_ = await world.join()
    node = open_.node
    closed = await world.take_part(node, another_run("closed", node.identity))
    weights = node.blobs.add_bytes(b"weights", "checkpoint", "weights").id
    head = replace(head_of(open_, 0, 1, weights), author=stranger.author)
    open_.heads.add(head.seal(stranger))
    read = ChunkReader(node)
    assert await read(stranger.author, weights) is not None

    closed.heads.add(head_of(closed, 0, 5, weights).seal(node.identity), own=True)

    assert await read(stranger.author, weights) is None


async def test_a_run_that_was_left_is_not_spoken_of_by_a_round_that_had_begun(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    first, second = await in_both(world, another_run("another-run"))
    await leave_for_good(second)
    await second.announcer.everything()
    assert await read_peers(first.swarm, second.run_id) == []


async def test_unattended_training_goes_where_there_is_a_slot_to_have(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    other = await world.join()
    first, second = await in_both(world, another_run("another-run"))
    for slot in range(2):
        lease = await claimant_of(other).acquire(slot)
        lease.begin(0)
        lease.advance(1)
        assert await lease.renew()
    os.utime(second.slot_folder(0), (first.node.clock() + 60,) * 2)
    assert turns_of([first, second])[0] is first
    tried: list[dict[str, object]] = []
    volunteer = UnattendedTraining(first.node, Jobs(first.node.clock), tried.append)
    running = asyncio.create_task(volunteer.run())
    await eventually(lambda: bool(first.training or second.training))
    assert second.training and not first.training
    volunteer.stop()
    await running
    looked = [event["run"] for event in tried if event["event"] == "looking"]
    assert looked[:2] == [first.run_id.hex(), second.run_id.hex()]
