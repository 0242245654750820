"""The newest records of one kind that this peer has seen, kept on disk, one sealed record per file.

Records are signed by their authors and do not say who holds their content, so any peer may announce
them again. This is how published work outlives the peer that made it.

Anyone can sign records, so a book is bounded. A record whose content this peer holds is pinned. Of
the others, a random one makes room, so that no order of arrival or step helps a flood.

An author may leave before any peer has copied its newest work. That must not cost its earlier work.
So a pinned record stays beside its successor, as the *former* one, until the successor's content is
held here or by enough others (`garbage_collection`). If nobody announces an author's newest record
any more, an older announced one takes its place.

This home's own newest record is the one that it made last, whatever its clock said. A record under
its key that others announce was made elsewhere: it replaces the own one only if it is newer and no
less far.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from paris_p2p.errors import BadContent, DiskFull
from paris_p2p.files import sweep_partial_files, write_atomically
from paris_p2p.identity import Author
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume

MOST_PER_SLOT = 64
"""Most records of one slot that are kept, without pinned ones."""

FORMER = ".former"
"""The end of a former record's file name."""

Record = TypeVar("Record", Head, Resume)
Key = tuple[int, bytes]


class RecordBook(Generic[Record]):
    """Records of one kind and run, the newest per (slot, author). Thread-safe.

    Parameters
    ----------
    kind : the class of record kept.
    folder : holds the sealed records; created if absent.
    run : id of the run (32 bytes); records of other runs are refused.
    slots : the slots of the run; records of other slots are refused.
    counts : whether a record counts here; others are refused and take no room.
    own : the author whose records are made in this home; None for nobody.
    lasts : whether a record on disk still counts; others are deleted. None for `counts`.
    """

    def __init__(
        self,
        kind: type[Record],
        folder: Path,
        run: bytes,
        slots: Collection[int],
        counts: Callable[[Record], bool] = lambda record: True,
        own: Author | None = None,
        lasts: Callable[[Record], bool] | None = None,
    ) -> None:
        self.kind: type[Record] = kind
        self._counts: Callable[[Record], bool] = counts
        self._own = own
        self._folder = folder
        self._run = run
        self._slots = frozenset(slots)
        self._newest: dict[Key, tuple[Record, bytes]] = {}
        self._former: dict[Key, tuple[Record, bytes]] = {}
        self._pinned: set[Key] = set()
        self._heard: dict[int, dict[Record, Mapping[Author, float]]] = {}
        self._changing = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep_partial_files(folder)
        self._load("", self._newest, lasts or counts)
        self._load(FORMER, self._former, lasts or counts)

    def add(
        self, sealed: bytes, *, slot: int | None = None, own: bool = False, synced: bool = True
    ) -> Record:
        """Check a sealed record, and keep it if it is its author's newest of the slot.

        Parameters
        ----------
        slot : the slot that it must be of; None for any.
        own : this home has just made it, so it is the newest, and is pinned.
        synced : wait for the disk. Records heard from others need not: they are heard again after a
            power cut, and strangers would decide how often this peer waits.

        Raises BadContent for a record that is malformed, forged or of another run.
        """
        record = self._checked(sealed, self._counts)
        if slot not in (None, record.expert):
            raise BadContent(f"a {self.kind.KIND} record of another slot")
        with self._changing:
            if own or self._is_newer(record):
                self._set_aside(record)
                self._put(record, sealed, synced)
                if own:
                    self._pin(_key(record))
                self._make_room(record)
        return record

    def hear(self, slot: int, announced: Mapping[bytes, Mapping[Author, float]]) -> None:
        """Add the announced records of a slot, by their sealed bytes. Invalid ones are left out.

        Each maps to its announcers, and each announcer to the end of its announcement (Unix s).
        """
        found = {}
        for sealed, announcers in announced.items():
            with suppress(BadContent):
                found[self.add(sealed, slot=slot, synced=False)] = (sealed, announcers)
        with self._changing:
            self._heard[slot] = {record: announcers for record, (_, announcers) in found.items()}
            for record in sorted(found, key=_age, reverse=True):
                self._fall_back(record, found[record][0])

    def announcers(self, record: Record) -> Mapping[Author, float]:
        """The last heard announcers of this record, and when each announcement ends (Unix s)."""
        with self._changing:
            return self._heard.get(record.expert, {}).get(record, {})

    def pin(self, record: Record) -> bool:
        """Keep this record while its content is held. False if it is not in the book any more."""
        with self._changing:
            if self._is(self._newest, record):
                self._pin(_key(record))
                return True
            return self._is(self._former, record)

    def unpin(self, content: bytes) -> None:
        """Stop keeping the records that name this content: it is not held any more."""
        with self._changing:
            for key, (record, _) in self._newest.items():
                if record.manifest == content:
                    self._pinned.discard(key)
            for key, (record, _) in list(self._former.items()):
                if record.manifest == content:
                    self._forget_former(key)

    def forget(self, content: bytes, author: Author) -> None:
        """Delete every record of this author that names this content."""

        def is_meant(record: Record) -> bool:
            return record.manifest == content and record.author == author

        with self._changing:
            for key, (record, _) in list(self._newest.items()):
                if is_meant(record):
                    self._pinned.discard(key)
                    del self._newest[key]
                    self._file(key).unlink(missing_ok=True)
            for key, (record, _) in list(self._former.items()):
                if is_meant(record):
                    self._forget_former(key)
            for heard in self._heard.values():
                for record in list(filter(is_meant, heard)):
                    del heard[record]

    def naming(self, content: bytes) -> list[Record]:
        """Every record that names this content, kept or only heard."""
        kept = self.all()
        with self._changing:
            heard = [record for records in self._heard.values() for record in records]
        return [record for record in dict.fromkeys(kept + heard) if record.manifest == content]

    def formers(self) -> list[tuple[Record, Record]]:
        """The former records, each with its author's newest one."""
        with self._changing:
            return [
                (former, self._newest[key][0])
                for key, (former, _) in self._former.items()
                if key in self._newest
            ]

    def let_go(self, former: Record) -> None:
        """Delete a former record: its successor's content is held."""
        with self._changing:
            if self._is(self._former, former):
                self._forget_former(_key(former))

    def newest(self, expert: int, author: Author) -> Record | None:
        """An author's newest kept record of a slot; None if there is none."""
        with self._changing:
            found = self._newest.get((expert, author))
        return found[0] if found else None

    def all(self) -> list[Record]:
        with self._changing:
            newest = [record for record, _ in self._newest.values()]
            return newest + [record for record, _ in self._former.values()]

    def of(self, expert: int) -> list[Record]:
        return [record for record in self.all() if record.expert == expert]

    def by(self, expert: int, author: Author) -> list[Record]:
        """One author's records of a slot, kept or heard."""
        found = dict.fromkeys(self.of(expert))
        with self._changing:
            found |= dict.fromkeys(self._heard.get(expert, {}))
        return [record for record in found if record.author == author]

    def known(self, expert: int) -> list[Record]:
        """The records of a slot that are kept, and those last heard from others.

        They include an author's older ones that somebody still announces. Of those only heard,
        MOST_PER_SLOT at most are chosen at random.
        """
        kept = self.of(expert)
        with self._changing:
            heard = list(self._heard.get(expert, {}).keys() - set(kept))
        return kept + random.sample(heard, min(len(heard), MOST_PER_SLOT))

    def sealed(self, record: Record) -> bytes:
        """A pinned record as its author signed it."""
        with self._changing:
            here = self._former if self._is(self._former, record) else self._newest
            return here[_key(record)][1]

    def _load(
        self,
        suffix: str,
        into: dict[Key, tuple[Record, bytes]],
        lasts: Callable[[Record], bool],
    ) -> None:
        for path in sorted(self._folder.glob(f"*.{self.kind.KIND}{suffix}")):
            try:
                sealed = path.read_bytes()
                record = self._checked(sealed, lasts)
            except BadContent:
                path.unlink(missing_ok=True)
            else:
                into[_key(record)] = (record, sealed)

    def _checked(self, sealed: bytes, counts: Callable[[Record], bool]) -> Record:
        record = self.kind.unseal(sealed)
        if record.run != self._run or record.expert not in self._slots:
            kind = self.kind.KIND
            raise BadContent(f"a {kind} record of another run", f"use a {kind} of this run")
        if not counts(record):
            raise BadContent(f"a {self.kind.KIND} record that does not count here")
        return record

    def _is_newer(self, record: Record) -> bool:
        found = self._newest.get(_key(record))
        if found is None:
            return True
        known, _ = found
        no_less_far = record.author != self._own or record.step >= known.step
        return _age(known) < _age(record) and no_less_far

    def _put(self, record: Record, sealed: bytes, synced: bool) -> None:
        """Set an author's newest record. On a full disk, one heard from others stays in memory."""
        self._newest[_key(record)] = (record, sealed)
        with suppress(*(() if synced else (DiskFull,))):
            write_atomically(self._file(_key(record)), sealed, synced=synced)

    def _set_aside(self, successor: Record) -> None:
        """Make a pinned record the former one, unless its successor names the same content."""
        key = _key(successor)
        if key in self._pinned and self._newest[key][0].manifest != successor.manifest:
            self._pinned.discard(key)
            self._former[key] = self._newest[key]
            with suppress(FileNotFoundError):
                self._file(key).replace(self._file(key, FORMER))

    def _fall_back(self, record: Record, sealed: bytes) -> None:
        """Let a record replace its author's newest, if that is neither held here nor announced."""
        key = _key(record)
        if key not in self._newest or key in self._pinned:
            return
        former = self._former.get(key)
        if former is not None and _age(former[0]) > _age(record):
            return
        if self._newest[key][0] not in self._heard[record.expert]:
            self._put(record, sealed, synced=False)
            if former is not None and former[0] == record:
                self._pin(key)

    def _pin(self, key: Key) -> None:
        self._pinned.add(key)
        self._forget_former(key)

    def _forget_former(self, key: Key) -> None:
        if self._former.pop(key, None) is not None:
            self._file(key, FORMER).unlink(missing_ok=True)

    def _make_room(self, newest: Record) -> None:
        of_slot = [key for key in self._newest if key[0] == newest.expert]
        loose = [key for key in of_slot if key not in self._pinned and key != _key(newest)]
        if len(loose) >= MOST_PER_SLOT:
            unlucky = random.choice(loose)
            del self._newest[unlucky]
            self._file(unlucky).unlink(missing_ok=True)

    @staticmethod
    def _is(here: Mapping[Key, tuple[Record, bytes]], record: Record) -> bool:
        found = here.get(_key(record))
        return found is not None and found[0] == record

    def _file(self, key: Key, suffix: str = "") -> Path:
        return self._folder / f"{key[0]}-{key[1].hex()}.{self.kind.KIND}{suffix}"


def _age(record: Head | Resume) -> tuple[float, int]:
    """Sort key of an author's records of a slot, the oldest first."""
    return record.created, record.step


def _key(record: Head | Resume) -> Key:
    return record.expert, record.author
