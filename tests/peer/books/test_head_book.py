import os
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent, DiskFull
from paris_p2p.identity import Identity
from paris_p2p.peer.books import record_book
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.record_book import MOST_PER_SLOT
from paris_p2p.peer.books.survey import read_heads
from paris_p2p.records.codec import encode
from paris_p2p.records.keys import heads_key
from tests.peer.worlds import PeerWorld, head_of


async def test_the_newest_head_of_an_author_is_kept_across_restarts(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    for created, step in ((10, 5), (30, 9), (20, 7)):
        peer.heads.add(head_of(peer, 0, step, created=created).seal(peer.node.identity))

    again = HeadBook(
        peer.node.home.runs_dir / peer.run_id.hex() / "heads", peer.run_id, peer.run.slots()
    )

    assert [head.step for head in again.of(0)] == [9]


async def test_own_new_work_is_the_newest_whatever_the_clock_said_before(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    folder, slots = tmp_path / "own", peer.run.slots()
    book = HeadBook(folder, peer.run_id, slots, own=peer.node.identity.author)
    ahead = head_of(peer, 0, 5, bytes([5]) * 32, created=5000.0)
    after = head_of(peer, 0, 9, bytes([9]) * 32, created=1400.0)
    book.add(ahead.seal(peer.node.identity), own=True)

    book.add(after.seal(peer.node.identity), own=True)

    assert book.all() == [after]
    others = {bytes(32): 1e12}
    book.hear(0, {ahead.seal(peer.node.identity): others, after.seal(peer.node.identity): others})
    assert book.of(0) == [after]
    assert HeadBook(folder, peer.run_id, slots, own=peer.node.identity.author).all() == [after]


async def test_work_made_elsewhere_under_the_same_key_displaces_ours_only_when_it_is_further(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    book = HeadBook(tmp_path / "own", peer.run_id, peer.run.slots(), own=peer.node.identity.author)
    ours, behind, further = (
        head_of(peer, 0, step, bytes([step]) * 32, created=created)
        for step, created in ((50, 1000.0), (20, 2000.0), (80, 2000.0))
    )
    book.add(ours.seal(peer.node.identity), own=True)
    for heard, kept in ((behind, ours), (further, further)):
        book.hear(0, {heard.seal(peer.node.identity): {bytes(32): 1e12}})
        assert book.newest(0, peer.node.identity.author) == kept


async def test_a_head_of_another_run_or_a_forged_one_is_refused(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    sealed = head_of(peer, 0, 5).seal(peer.node.identity)
    book = HeadBook(tmp_path / "other", bytes(32), peer.run.slots())

    with pytest.raises(BadContent, match="another run"):
        book.add(sealed)
    with pytest.raises(BadContent):
        peer.heads.add(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert peer.heads.all() == []


async def test_a_damaged_file_is_forgotten(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    peer.heads.add(head_of(peer, 0, 5).seal(peer.node.identity))
    folder = peer.node.home.runs_dir / peer.run_id.hex() / "heads"
    next(folder.glob("*.head")).write_bytes(b"rotten")

    assert HeadBook(folder, peer.run_id, peer.run.slots()).all() == []
    assert list(folder.glob("*.head")) == []


async def test_a_flood_of_authors_is_bounded_and_spares_what_is_pinned(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    peer.heads.pin(peer.heads.add(head_of(peer, 0, 1).seal(peer.node.identity)))
    for _ in range(MOST_PER_SLOT + 20):
        stranger = Identity.generate()
        head = replace(head_of(peer, 0, 10**9), author=stranger.author)
        peer.heads.add(head.seal(stranger))

    assert len(peer.heads.of(0)) <= MOST_PER_SLOT + 1
    assert len(list((peer.node.home.runs_dir / peer.run_id.hex() / "heads").iterdir())) == len(
        peer.heads.of(0)
    )
    assert peer.node.identity.author in {head.author for head in peer.heads.of(0)}


async def test_a_pinned_head_stays_beside_its_successor_until_that_is_pinned(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    folder = peer.node.home.runs_dir / peer.run_id.hex() / "heads"
    first, second, third = (
        head_of(peer, 0, step, bytes([step]) * 32, created=step) for step in (1, 2, 3)
    )
    peer.heads.pin(peer.heads.add(first.seal(peer.node.identity)))
    for head in (second, third):
        peer.heads.add(head.seal(peer.node.identity))
    again = HeadBook(folder, peer.run_id, peer.run.slots())
    for book in (peer.heads, again):
        assert book.all() == [third, first]
        assert book.formers() == [(first, third)]
        assert book.sealed(first) == first.seal(peer.node.identity)

    peer.heads.pin(third)
    again.unpin(first.manifest)
    for book in (peer.heads, again, HeadBook(folder, peer.run_id, peer.run.slots())):
        assert book.all() == [third]


async def test_a_head_that_nobody_announces_gives_way_to_an_older_one_that_somebody_does(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    old, new = (head_of(peer, 0, step, bytes([step]) * 32, created=step) for step in (1, 2))
    by = {peer.node.identity.author: 0.0}
    for announced, left in (
        ((new,), new),
        ((), new),
        ((old, new), new),
        ((old,), old),
        ((old, new), new),
    ):
        peer.heads.hear(0, {head.seal(peer.node.identity): by for head in announced})
        assert peer.heads.all() == [left]

    peer.heads.pin(new)
    peer.heads.hear(0, {old.seal(peer.node.identity): by})
    assert peer.heads.all() == [new]


async def test_a_head_of_a_slot_that_the_run_has_not_is_refused(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    with pytest.raises(BadContent):
        peer.heads.add(head_of(peer, 1777, 5).seal(peer.node.identity))


async def test_what_strangers_say_costs_no_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    peer, stranger = await world.join(), await world.join()
    sealed = head_of(stranger, 0, 5).seal(stranger.node.identity)
    key = heads_key(peer.run_id, 0)
    await stranger.swarm.store(key, encode([sealed]), world.network.clock() + 60)

    def refuse(file: int) -> None:
        raise AssertionError("waits for the disk")

    monkeypatch.setattr(os, "fsync", refuse)
    await read_heads(peer.swarm, peer.heads, 0, peer.run_id)
    assert [head.author for head in peer.heads.of(0)] == [stranger.node.identity.author]


async def test_a_full_disk_stops_nobody_from_knowing_a_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise DiskFull("no room left")

    peer = await PeerWorld(tmp_path).join()
    monkeypatch.setattr(record_book, "write_atomically", no_room)
    first, second = (head_of(peer, 1, step, bytes(32)) for step in (1, 2))
    for head in (first, second):
        peer.heads.hear(1, {head.seal(peer.node.identity): {peer.node.identity.author: 9e9}})
        peer.heads.pin(head)
    assert second in peer.heads.of(1)
    with pytest.raises(DiskFull):
        peer.heads.add(head_of(peer, 1, 3, bytes(32)).seal(peer.node.identity))


async def test_an_older_head_that_others_still_announce_is_known_beside_the_newest(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    older, newer = (head_of(peer, 0, step, created=step) for step in (5, 9))
    announced = {head.seal(peer.node.identity): {bytes(32): 1e12} for head in (older, newer)}

    peer.heads.hear(0, announced)

    assert peer.heads.of(0) == [newer]
    assert set(peer.heads.known(0)) == {older, newer}
    assert peer.heads.known(1) == []
    peer.heads.hear(0, {newer.seal(peer.node.identity): {bytes(32): 1e12}})
    assert peer.heads.known(0) == [newer]


async def test_a_flood_of_heads_that_are_only_heard_is_bounded(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    heads = [head_of(peer, 0, step, created=step) for step in range(2 * MOST_PER_SLOT)]

    peer.heads.hear(0, {head.seal(peer.node.identity): {bytes(32): 1e12} for head in heads})

    assert len(peer.heads.known(0)) == MOST_PER_SLOT + 1
