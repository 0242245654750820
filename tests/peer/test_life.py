"""From a started swarm to withdrawal, on a memory network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.config import PeerConfig, load
from paris_p2p.errors import BadContent, ClockSkew, NotAvailable
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemorySwarm
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.survey import read_peers
from paris_p2p.peer.joining import check_clock
from paris_p2p.peer.report import heads_report
from paris_p2p.peer.shipped_run import ShippedRun, seed_shipped_run
from paris_p2p.records.codec import encode
from paris_p2p.records.keys import heads_key
from paris_p2p.records.run import RunManifest, run_id
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore
from tests.peer.worlds import (
    CREATOR,
    PeerWorld,
    content_of,
    eventually,
    head_of,
    hold,
    make_run,
    manifest_of,
)


async def newcomer(world: PeerWorld, clock_ahead: float = 0) -> tuple[Identity, MemorySwarm]:
    identity = Identity.generate()
    clock = lambda: world.network.clock() + clock_ahead  # noqa: E731
    swarm = world.network.join(identity.author, clock=clock)
    await swarm.connect(world.peers[0].swarm.addresses()[0])
    return identity, swarm


def home_in(folder: Path) -> Home:
    home = Home(folder / "newcomer")
    home.create()
    return home


async def test_what_a_killed_import_left_is_gone_after_the_next_start(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder = await world.join()
    await holder.announcer.everything()
    identity, swarm = await newcomer(world)
    home = home_in(tmp_path)
    home.import_dir.mkdir(parents=True)
    (home.import_dir / "router.safetensors").write_bytes(b"half")
    config = PeerConfig(run=(holder.run_id.hex(),))
    async with world.living(home, identity, swarm, config):
        assert not home.import_dir.exists()


async def test_a_run_known_by_its_id_alone_is_fetched_from_a_peer(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder = await world.join()
    await holder.announcer.everything()
    identity, swarm = await newcomer(world)
    config = PeerConfig(run=(holder.run_id.hex(),))

    async with world.living(home_in(tmp_path), identity, swarm, config) as node:
        (peer,) = node.memberships.values()
        assert peer.run == holder.run
        assert len(await read_peers(holder.swarm, holder.run_id)) == 2

    assert len(await read_peers(holder.swarm, holder.run_id)) == 1


async def test_a_home_of_version_0_1_0_opens_with_its_folder_of_handovers(tmp_path: Path) -> None:
    world, home = PeerWorld(tmp_path), home_in(tmp_path)
    holder = await world.join()
    await holder.announcer.everything()
    identity, swarm = await newcomer(world)
    kept = home.path / "handovers" / f"{'ab' * 32}.handover"
    kept.parent.mkdir(mode=0o700)
    kept.write_bytes(b"signed by two keys")
    config = PeerConfig(run=(holder.run_id.hex(),))

    async with world.living(home, identity, swarm, config) as node:
        (peer,) = node.memberships.values()
        assert peer.run == holder.run
    assert kept.read_bytes() == b"signed by two keys"


async def test_a_home_of_version_0_1_0_opens_unharmed(tmp_path: Path) -> None:
    """As one that trained in a run left it: files that this version has not written."""
    world, home = PeerWorld(tmp_path), home_in(tmp_path)
    holder = await world.join()
    await holder.announcer.everything()
    identity, swarm = await newcomer(world)
    blobs = Blobs(ChunkStore(home.store_dir), home.cache_dir)
    blobs.chunks.put(world.sealed)
    content = blobs.add_bytes(b"weights", "checkpoint", "expert-0.safetensors").id
    head = replace(head_of(holder, 0, 7, content), author=identity.author)
    run = holder.run_id.hex()
    kept = {
        f"runs/{run}/heads/0-{identity.author.hex()}.head": head.seal(identity),
        f"snapshots/{run[:16]}/slot-0/snapshot-000000009.safetensors": b"private state",
        "config.toml": f'run = "{run}"\n'.encode(),
        "refusals.json": b"[]",
        "known-peers.json": b"[]",
        "port": b"31337",
    }
    for name, data in kept.items():
        file = home.path / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(data)

    async with world.living(home, identity, swarm, load(home, {}, {})) as node:
        (peer,) = node.memberships.values()
        assert peer.run_id == holder.run_id
        assert peer.heads.newest(0, identity.author) == head
        assert peer.trained_slots() == [0]
        assert node.blobs.complete(content)
    assert {name: (home.path / name).read_bytes() for name in kept} == kept
    assert not home.runs_file.exists()


async def test_a_head_that_names_a_part_of_the_run_does_not_count(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder = await world.join()
    await holder.announcer.everything()
    identity, swarm = await newcomer(world)
    config = PeerConfig(run=(holder.run_id.hex(),))

    async with world.living(home_in(tmp_path), identity, swarm, config) as node:
        (peer,) = node.memberships.values()
        for part in (peer.run_id, *peer.run.content_ids()):
            with pytest.raises(BadContent):
                peer.heads.add(head_of(holder, 0, 2**40, part).seal(holder.node.identity))
        peer.heads.add(head_of(holder, 0, 5, b"c" * 32).seal(holder.node.identity))


async def test_no_peer_has_the_run(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    await world.join()
    identity, swarm = await newcomer(world)
    config = PeerConfig(run=("ab" * 32,))
    with pytest.raises(NotAvailable):
        async with world.living(home_in(tmp_path), identity, swarm, config):
            pass


async def test_others_word_that_the_clock_is_off_is_a_warning_and_no_refusal(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    await (await world.join()).announcer.everything()
    identity, swarm = await newcomer(world, clock_ahead=60)
    config = PeerConfig(run=(run_id(world.sealed).hex(),))
    async with world.living(home_in(tmp_path), identity, swarm, config) as node:
        (peer,) = node.memberships.values()
        (warning,) = peer.node.alarms.all()
    assert "60 s ahead" in warning and "timedatectl" in warning


def test_a_clock_from_before_the_run_is_refused() -> None:
    check_clock(now=1_800_000_000.0, run_created=1_800_000_005.0)
    with pytest.raises(ClockSkew, match="1970-01-01") as caught:
        check_clock(now=100.0, run_created=1_800_000_000.0)
    assert "timedatectl" in caught.value.remedy


async def test_a_peer_copies_what_has_too_few_providers(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder = await world.join()
    await holder.announcer.everything()
    contents = [await hold(holder, index) for index in range(2)]
    identity, swarm = await newcomer(world)
    config = PeerConfig(run=(holder.run_id.hex(),))
    async with world.living(home_in(tmp_path), identity, swarm, config, replicate=True) as node:
        (peer,) = node.memberships.values()
        await eventually(lambda: all(peer.node.blobs.complete(content) for content in contents))


def ship(folder: Path) -> ShippedRun:
    """A shipped folder of the made-up run."""
    sealed = make_run()
    (folder / "shards").mkdir(parents=True)
    (folder / "run.paris").write_bytes(sealed)
    for index in range(2):
        (folder / "shards" / f"expert-{index}.safetensors").write_bytes(content_of(index))
    return ShippedRun(folder, run_id(sealed), RunManifest.unseal(sealed))


def empty_store(folder: Path) -> Blobs:
    return Blobs(ChunkStore(folder / "store"), folder / "cache")


def test_the_shipped_run_enters_the_store(tmp_path: Path) -> None:
    shipped, blobs = ship(tmp_path / "shipped_run"), empty_store(tmp_path)
    seed_shipped_run(shipped, blobs, HeadBook(tmp_path / "heads", shipped.id, shipped.run.slots()))
    assert blobs.complete(manifest_of(0).id) and blobs.complete(manifest_of(1).id)
    assert blobs.chunks.get(shipped.id) == shipped.sealed


def test_an_altered_shipped_file_is_refused(tmp_path: Path) -> None:
    shipped, blobs = ship(tmp_path / "shipped_run"), empty_store(tmp_path)
    (shipped.folder / "shards" / "expert-1.safetensors").write_bytes(b"altered")
    with pytest.raises(BadContent, match="1 files of the shipped run are missing or altered"):
        seed_shipped_run(
            shipped, blobs, HeadBook(tmp_path / "heads", shipped.id, shipped.run.slots())
        )


async def test_no_crowd_of_strangers_hides_what_trusted_authors_publish(tmp_path: Path) -> None:
    """They flood the heads of every slot under keys of their own; then a newcomer arrives."""
    trusted = Identity.generate()
    run = replace(RunManifest.unseal(make_run()), trusted_authors=(trusted.author,))
    world = PeerWorld(tmp_path, sealed=run.seal(CREATOR))
    holder = await world.join()
    await holder.announcer.everything()
    head = replace(head_of(holder, 0, 7), author=trusted.author)
    await holder.swarm.store(
        heads_key(holder.run_id, 0), encode([head.seal(trusted)]), holder.node.clock() + 60
    )
    for _ in range(100):
        stranger, swarm = await newcomer(world)
        flood = [
            replace(head_of(holder, 0, 10**9 + n), author=stranger.author).seal(stranger)
            for n in range(4)
        ]
        key = heads_key(holder.run_id, 0)
        await swarm.store(key, encode(flood), holder.node.clock() + 60)
    identity, swarm = await newcomer(world)
    config = PeerConfig(run=(holder.run_id.hex(),))

    async with world.living(home_in(tmp_path), identity, swarm, config) as node:
        (peer,) = node.memberships.values()
        report = await heads_report(peer)
        assert [row["step"] for row in report["heads"]["0"]] == [7]
        assert peer.heads.all() == [head]
