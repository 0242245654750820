"""Records that do not count take no room, even when strangers flood a book with throw-away keys."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.peer.books.admission import admission, end_of_time
from paris_p2p.peer.books.authorisation import Authorisation
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.record_book import MOST_PER_SLOT, RecordBook
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.records.created_time import TOLERANCE
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest, run_id
from tests.peer.worlds import CREATOR, make_run

ME, TRUSTED, STRANGER = (Identity(bytes([number] * 32)) for number in range(1, 4))
NOW = 1.8e9
SOMEBODY = {bytes(32): 1e12}


@dataclass
class Desk:
    """What a peer of one run has to judge records with."""

    folder: Path
    trusted: tuple[Identity, ...] = ()
    now: float = NOW

    def __post_init__(self) -> None:
        run = RunManifest.unseal(make_run())
        authors = tuple(identity.author for identity in self.trusted)
        self.sealed = replace(run, trusted_authors=authors).seal(CREATOR)
        self.run = RunManifest.unseal(self.sealed)
        self.authorisation = Authorisation(self.run)
        self.refusals = Refusals(None, time.time)
        self.counts = self._counts(lambda: self.now)

    def _counts(self, clock: Callable[[], float]) -> Callable[[Head | Resume], bool]:
        run = run_id(self.sealed)
        return admission(self.run, run, ME.author, self.authorisation, self.refusals, clock)

    def heads(self, counts: Callable[[Head | Resume], bool] | None = None) -> HeadBook:
        folder, slots = self.folder / "heads", self.run.slots()
        own, counts = ME.author, counts or self.counts
        return HeadBook(folder, run_id(self.sealed), slots, counts, own, self._counts(end_of_time))

    def resumes(self) -> RecordBook[Resume]:
        folder, slots = self.folder / "resumes", self.run.slots()
        return RecordBook(Resume, folder, run_id(self.sealed), slots, self.counts, ME.author)

    def head(self, identity: Identity, step: int = 5, created: float = NOW) -> Head:
        return Head(
            run=run_id(self.sealed),
            expert=0,
            author=identity.author,
            step=step,
            images=2 * step,
            manifest=bytes([step % 256]) * 32,
            size=1,
            train_loss=1.0,
            held_out_loss=1.0,
            parent=None,
            created=created,
        )

    def resume(self, identity: Identity, step: int = 5, created: float = NOW) -> Resume:
        return Resume(
            run=run_id(self.sealed),
            expert=0,
            author=identity.author,
            step=step,
            images=2 * step,
            manifest=bytes([step % 256]) * 32,
            size=1,
            created=created,
        )


def flood(desk: Desk) -> dict[bytes, dict[bytes, float]]:
    strangers = [Identity.generate() for _ in range(2 * MOST_PER_SLOT)]
    return {desk.head(each, step=10**9).seal(each): SOMEBODY for each in strangers}


async def test_a_flood_of_strangers_leaves_trusted_heads_their_room(tmp_path: Path) -> None:
    """The flood comes first, at the same time and afterwards, and is gone again."""
    desk = Desk(tmp_path, trusted=(TRUSTED,))
    book, honest = desk.heads(), desk.head(TRUSTED)
    older = desk.head(TRUSTED, step=4, created=NOW - 1)
    announced = {head.seal(TRUSTED): SOMEBODY for head in (older, honest)}

    book.hear(0, flood(desk))
    book.hear(0, {**flood(desk), **announced})
    assert set(book.known(0)) == {honest, older}
    for _ in range(4):
        book.hear(0, flood(desk))

    assert book.all() == [honest]
    assert desk.heads().all() == [honest]
    assert len(list((tmp_path / "heads").iterdir())) == 1


async def test_what_a_book_of_before_holds_and_does_not_count_is_deleted(tmp_path: Path) -> None:
    desk = Desk(tmp_path, trusted=(TRUSTED,))
    before = desk.heads(lambda record: True)
    before.hear(0, flood(desk))
    before.hear(0, {desk.head(TRUSTED).seal(TRUSTED): SOMEBODY})
    assert len(before.all()) > 1

    assert desk.heads().all() == [desk.head(TRUSTED)]
    assert len(list((tmp_path / "heads").iterdir())) == 1


async def test_resume_states_are_held_to_the_same(tmp_path: Path) -> None:
    desk = Desk(tmp_path, trusted=(TRUSTED,))
    book = desk.resumes()
    for identity in (STRANGER, TRUSTED):
        book.hear(0, {desk.resume(identity).seal(identity): SOMEBODY})
    assert [resume.author for resume in book.all()] == [TRUSTED.author]


async def test_records_from_the_future_are_refused_and_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    heads, resumes = desk.heads(), desk.resumes()
    late = NOW + TOLERANCE + 1
    heads.hear(0, {desk.head(STRANGER, created=late).seal(STRANGER): SOMEBODY})
    resumes.hear(0, {desk.resume(STRANGER, created=late).seal(STRANGER): SOMEBODY})
    assert heads.known(0) == [] and resumes.known(0) == []
    assert {(told.what, told.author) for told in desk.refusals.all()} == {
        ("head of expert 0", STRANGER.author.hex()),
        ("resume of expert 0", STRANGER.author.hex()),
    }

    nearly = desk.head(STRANGER, created=NOW + TOLERANCE)
    heads.hear(0, {nearly.seal(STRANGER): SOMEBODY})
    assert heads.all() == [nearly]


async def test_a_record_that_leaves_no_room_to_train_is_refused_and_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    book = desk.heads()
    last = replace(desk.head(STRANGER), step=2**40, images=2**48)
    book.hear(0, {last.seal(STRANGER): SOMEBODY})
    with pytest.raises(BadContent):
        book.add(last.seal(STRANGER))
    assert book.known(0) == []
    (told,) = desk.refusals.all()
    assert told.author == STRANGER.author.hex() and "images" in told.reason


async def test_own_records_survive_a_clock_that_was_set_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    ahead = desk.head(ME, created=NOW + 3600)
    desk.heads().add(ahead.seal(ME), own=True)
    assert desk.heads().all() == [ahead]


async def test_what_was_kept_of_others_survives_a_start_with_the_clock_set_back(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    theirs = desk.head(TRUSTED)
    desk.heads().add(theirs.seal(TRUSTED))

    desk.now = NOW - 10 * TOLERANCE
    book = desk.heads()

    assert book.all() == [theirs]
    with pytest.raises(BadContent):
        book.add(desk.head(STRANGER).seal(STRANGER))
    desk.now = NOW
    assert desk.heads().all() == [theirs]
