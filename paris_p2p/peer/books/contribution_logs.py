"""Contribution logs on disk: one append-only file per author.

    u32 length, sealed entry; and so on

An entry is synced before it counts. The next append cuts off the half-written entry of a killed
process.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paris_p2p.errors import BadContent, DiskFull
from paris_p2p.files import write_all, write_atomically
from paris_p2p.identity import Author, Identity
from paris_p2p.records.contribution import (
    MOST_ENTRIES,
    Contribution,
    End,
    checked,
    gained_steps,
)
from paris_p2p.records.head import Head
from paris_p2p.store.chunks import FILES

LOG_LIMIT = 16 << 20
"""Most bytes of one log."""

MOST_LOGS = 64
"""Most logs kept in a home, its own included. Further logs are checked but not kept."""

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class _Tail:
    """The end of a valid log: its bytes, the end that the next entry follows, the heads so far."""

    size: int
    end: End
    heads: list[Head]


class ContributionLogs:
    """The logs in one home. Blocking and thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changing = threading.Lock()
        self._tails: dict[Author, _Tail] = {}

    def authors(self) -> list[Author]:
        """The authors whose logs are here."""
        return [bytes.fromhex(path.stem) for path in sorted(self._folder.glob(f"{FILES}.log"))]

    def read(self, author: Author) -> bytes:
        """The whole entries of an author's log, as they lie on disk; empty if there is none."""
        try:
            with self._file(author).open("rb") as file:
                return _whole(file.read(LOG_LIMIT))
        except FileNotFoundError:
            return b""

    def entries(self, author: Author) -> list[Contribution]:
        """The checked entries of an author's log. BadContent if the file was tampered with."""
        return checked(author, frames(self.read(author)))

    def append(
        self, identity: Identity, sealed_head: bytes, known: Iterable[Head] = ()
    ) -> Contribution:
        """Append a head that `identity` has published. It is synced when this returns.

        `known` : heads of others; the checkpoint that this one continues may be one of them.
        BadContent if the log is full or was not written by this author, DiskFull.
        """
        with self._changing:
            tail = self._tail(identity.author)
            entry = Contribution(
                author=identity.author,
                number=tail.end.length,
                previous=tail.end.last,
                gained=gained_steps(Head.unseal(sealed_head), [*tail.heads, *known]),
                sealed_head=sealed_head,
            )
            sealed = entry.seal(identity)
            frame = _LENGTH.pack(len(sealed)) + sealed
            if tail.end.length >= MOST_ENTRIES or tail.size + len(frame) > LOG_LIMIT:
                raise BadContent(
                    "the contribution log is full", "A peer with another --home starts a new log"
                )
            self._extend(identity.author, tail.size, frame)
            _, end = tail.end.followed_by(sealed)
            tail.heads.append(entry.head)
            self._tails[identity.author] = _Tail(tail.size + len(frame), end, tail.heads)
        return entry

    def keep(self, author: Author, data: bytes) -> None:
        """Replace the copy of another author's log by a longer one that was checked."""
        with self._changing:
            if self._file(author).exists() or len(self.authors()) < MOST_LOGS:
                write_atomically(self._file(author), data)
                self._tails.pop(author, None)

    def _tail(self, author: Author) -> _Tail:
        if author not in self._tails:
            self._tails[author] = _tail_of(author, self.read(author))
        return self._tails[author]

    def _extend(self, author: Author, whole: int, frame: bytes) -> None:
        """Cut the file to its `whole` bytes and append an entry. On any error nothing is added."""
        if not whole:
            write_atomically(self._file(author), frame)
            return
        file = os.open(self._file(author), os.O_WRONLY | os.O_APPEND)
        try:
            os.ftruncate(file, whole)
            write_all(file, frame)
            os.fsync(file)
        except BaseException as error:
            os.ftruncate(file, whole)
            if isinstance(error, OSError):
                raise DiskFull(
                    f"the contribution log cannot grow: {error.strerror}", "Free some space"
                ) from error
            raise
        finally:
            os.close(file)

    def _file(self, author: Author) -> Path:
        return self._folder / f"{author.hex()}.log"


def frames(data: bytes) -> Iterator[bytes]:
    """The sealed entries in a log's bytes. BadContent if the last is cut short."""
    place = 0
    while place < len(data):
        (length,) = _LENGTH.unpack(data[place : place + 4].ljust(4, b"\xff"))
        sealed = data[place + 4 : place + 4 + length]
        if length > Contribution.LIMIT or len(sealed) != length:
            raise BadContent("the log ends within an entry")
        yield sealed
        place += 4 + length


def last_frame(data: bytes) -> bytes:
    """The last entry of a whole log, with its length before it; empty for an empty log."""
    sealed = deque(frames(data), maxlen=1)
    return b"".join(_LENGTH.pack(len(each)) + each for each in sealed)


def _whole(data: bytes) -> bytes:
    """The log without a half-written last entry."""
    place = 0
    with contextlib.suppress(BadContent):
        for sealed in frames(data):
            place += 4 + len(sealed)
    return data[:place]


def _tail_of(author: Author, data: bytes) -> _Tail:
    """The end of this author's log. BadContent if it was tampered with.

    An invalid last entry is left by a power cut and does not count.
    """
    tail = _Tail(0, End(author), [])
    whole = list(frames(data))
    for number, sealed in enumerate(whole, start=1):
        try:
            entry, end = tail.end.followed_by(sealed)
        except BadContent:
            if number < len(whole):
                raise
            return tail
        tail.heads.append(entry.head)
        tail = _Tail(tail.size + 4 + len(sealed), end, tail.heads)
    return tail
