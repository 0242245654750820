"""Hand-overs in the home and in the swarm: first seen is believed, contests are not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.home import write_atomically
from paris_p2p.identity import Author, Identity
from paris_p2p.network.memory import MemoryNetwork, MemorySwarm
from paris_p2p.peer import key_handover
from paris_p2p.peer.key_handover import HandoverBook, announce, follow, hand_over
from paris_p2p.records.codec import encode
from paris_p2p.records.handover import Handover, resolve
from paris_p2p.records.keys import handovers_key

ALICE, BOB, CAROL, THIEF = (Identity(bytes([number] * 32)) for number in range(4))


def handed(old: Identity, new: Identity, created: float = 1000.0) -> bytes:
    return Handover.between(old, new, created, "").seal(new)


@pytest.fixture
def book(tmp_path: Path) -> HandoverBook:
    return HandoverBook(tmp_path / "handovers")


def test_what_is_believed_outlives_a_restart(book: HandoverBook, tmp_path: Path) -> None:
    book.settle(ALICE.author, [handed(ALICE, BOB)])
    assert HandoverBook(tmp_path / "handovers").heir(ALICE.author) == BOB.author


def test_the_first_that_was_seen_stays_whatever_its_date(book: HandoverBook) -> None:
    book.settle(ALICE.author, [handed(ALICE, BOB, created=1000.0)])
    book.settle(ALICE.author, [handed(ALICE, THIEF, created=1.0)])
    book.settle(ALICE.author, [handed(ALICE, BOB), handed(ALICE, THIEF, created=1.0)])
    assert resolve(ALICE.author, book.all()) == BOB.author


def test_of_several_seen_at_once_none_is_believed(
    book: HandoverBook, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        book.settle(ALICE.author, [handed(ALICE, BOB), handed(ALICE, THIEF)])
    assert book.heir(ALICE.author) is None
    assert f"{ALICE.peer_id} is handed over to several keys" in caplog.text


def test_of_two_threads_that_see_different_ones_the_first_is_believed(
    book: HandoverBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2)
    writes: list[bytes] = []

    def see(old: Author, seen: Iterable[bytes]) -> list[tuple[Handover, bytes]]:
        together.wait(timeout=10)
        return [(Handover.unseal(sealed), sealed) for sealed in seen]

    def write(path: Path, sealed: bytes) -> None:
        writes.append(sealed)
        write_atomically(path, sealed)

    monkeypatch.setattr(key_handover, "_of", see)
    monkeypatch.setattr(key_handover, "write_atomically", write)
    with ThreadPoolExecutor(2) as pool:
        for heir in (BOB, THIEF):
            pool.submit(book.settle, ALICE.author, [handed(ALICE, heir)])
    assert [sealed for _, sealed in book.sealed()] == writes
    assert HandoverBook(tmp_path / "handovers").sealed() == book.sealed()


def test_noise_beside_a_hand_over_is_no_contest(book: HandoverBook) -> None:
    forged = bytearray(handed(ALICE, THIEF))
    forged[-1] ^= 1
    noise = [b"", b"junk", bytes(forged), handed(BOB, THIEF)]
    book.settle(ALICE.author, [*noise, handed(ALICE, BOB), handed(ALICE, BOB, created=2000.0)])
    assert book.heir(ALICE.author) == BOB.author


def test_a_damaged_file_is_as_none(book: HandoverBook, tmp_path: Path) -> None:
    book.keep(handed(ALICE, BOB))
    (file,) = (tmp_path / "handovers").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert HandoverBook(tmp_path / "handovers").all() == []


def test_a_chain_goes_into_a_backup_and_comes_back(book: HandoverBook, tmp_path: Path) -> None:
    hand_over(book, ALICE, BOB, 1000.0, "first")
    hand_over(book, BOB, CAROL, 2000.0, "second")
    hand_over(book, THIEF, ALICE, 500.0, "another's, but part of the line")
    other = HandoverBook(tmp_path / "other")
    other.keep_chain(book.ancestry(CAROL.author))
    assert resolve(ALICE.author, other.all()) == CAROL.author
    assert len(other.all()) == 3
    other.keep_chain(b"")


@pytest.mark.parametrize("chain", [b"\xff", encode("text"), encode([1]), encode([b"junk"])])
def test_what_is_no_chain_is_refused(book: HandoverBook, chain: bytes) -> None:
    with pytest.raises(BadContent):
        book.keep_chain(chain)
    assert book.all() == []


async def two_swarms() -> tuple[MemoryNetwork, MemorySwarm, MemorySwarm]:
    network = MemoryNetwork()
    one, other = network.join(CAROL.author), network.join(Identity.generate().author)
    await one.connect(other.addresses()[0])
    return network, one, other


async def test_a_chain_is_told_by_its_heir_and_followed_to_its_end(
    book: HandoverBook, tmp_path: Path
) -> None:
    network, carols, others = await two_swarms()
    hand_over(book, ALICE, BOB, 1000.0, "")
    hand_over(book, BOB, CAROL, 2000.0, "")
    await announce(carols, CAROL.author, book, network.clock())
    learned = HandoverBook(tmp_path / "learned")
    await follow(others, learned, [ALICE.author, THIEF.author])
    assert resolve(ALICE.author, learned.all()) == CAROL.author
    assert resolve(THIEF.author, learned.all()) == THIEF.author


async def test_a_hand_over_outlives_its_heirs_peer(book: HandoverBook, tmp_path: Path) -> None:
    network, carols, others = await two_swarms()
    hand_over(book, ALICE, CAROL, 1000.0, "")
    await announce(carols, CAROL.author, book, network.clock())
    learned = HandoverBook(tmp_path / "learned")
    await follow(others, learned, [ALICE.author])
    await carols.withdraw(handovers_key(ALICE.author))
    await announce(others, others.author, learned, network.clock())
    network.drop(carols.author)
    late = HandoverBook(tmp_path / "late")
    await follow(others, late, [ALICE.author])
    assert late.heir(ALICE.author) == CAROL.author


async def test_a_rotation_cut_short_is_not_told(book: HandoverBook) -> None:
    network, carols, others = await two_swarms()
    hand_over(book, CAROL, BOB, 1000.0, "")
    await announce(carols, CAROL.author, book, network.clock())
    assert await others.lookup(handovers_key(CAROL.author)) == []


async def test_a_circle_in_the_swarm_is_walked_once(tmp_path: Path) -> None:
    network, carols, others = await two_swarms()
    for old, new in ((ALICE, BOB), (BOB, ALICE)):
        await carols.store(handovers_key(old.author), handed(old, new), network.clock() + 60)
    learned = HandoverBook(tmp_path / "learned")
    await follow(others, learned, [ALICE.author])
    assert resolve(ALICE.author, learned.all()) == BOB.author
