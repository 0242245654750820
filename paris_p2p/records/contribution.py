"""A contribution log: the heads that one author published, each entry naming the one before.

A valid log proves that this author signed these heads, in this order, and that none is left out
between two of them. A reader that saw the log before also knows that nothing was taken back.

It does not prove that the steps were made: `gained` is the author's word, and only measuring the
checkpoints can tell. It does not prove when they were made: `created` is the author's clock. Nor
does it prove that the author shows the same log to everybody. Two signed logs of one author that
contradict each other prove that it rewrote one. Continuing from an old copy of a home looks the
same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from paris_p2p.errors import BadContent
from paris_p2p.identity import Author
from paris_p2p.records.codec import RECORD_LIMIT
from paris_p2p.records.fields import AuthorKey, Bytes, Count, Data, Maybe, Signed
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import content_id

MOST_ENTRIES = 1 << 14
"""Most entries of one log: one author's heads, an hour apart, for almost two years."""


@dataclass(frozen=True)
class Contribution(Signed):
    """An entry: one head that this author published, as it was sealed."""

    KIND: ClassVar[str] = "contribution"
    LIMIT: ClassVar[int] = 2 * RECORD_LIMIT

    author: AuthorKey
    number: Count
    """0 for the first."""
    previous: Annotated[bytes | None, Maybe(Bytes(32))]
    """BLAKE3 of the sealed entry before; None in the first."""
    gained: Count
    """Steps since the checkpoint that this one continues, as the author claims."""
    sealed_head: Annotated[bytes, Data(RECORD_LIMIT)]

    @cached_property
    def head(self) -> Head:
        """The head inside, whose signature has been checked."""
        return Head.unseal(self.sealed_head)

    def check(self) -> None:
        if self.head.author != self.author:
            raise BadContent("sealed_head: was published by somebody else")
        if self.gained > self.head.step:
            raise BadContent("gained: more steps than the checkpoint has")
        if (self.number == 0) != (self.previous is None):
            raise BadContent("previous: is missing, or names an entry before the first")


@dataclass(frozen=True)
class End:
    """Where a log ends: what the next entry must follow."""

    author: Author
    length: int = 0
    last: bytes | None = None
    """BLAKE3 of the last sealed entry."""

    def followed_by(self, sealed: bytes) -> tuple[Contribution, End]:
        """The entry in `sealed`, and the end after it. BadContent unless it is the next one."""
        entry = Contribution.unseal(sealed)
        if entry.author != self.author:
            raise BadContent(f"entry {self.length} of the log is somebody else's")
        if (entry.number, entry.previous) != (self.length, self.last):
            raise BadContent(f"entry {self.length} of the log does not follow the one before")
        if self.length >= MOST_ENTRIES:
            raise BadContent(f"the log has more than {MOST_ENTRIES} entries")
        return entry, End(self.author, self.length + 1, content_id(sealed))


def continued(end: End, sealed: Iterable[bytes]) -> tuple[list[Contribution], End]:
    """The entries after a log's `end`, and its new end. BadContent unless all are valid."""
    entries = []
    for each in sealed:
        entry, end = end.followed_by(each)
        entries.append(entry)
    return entries, end


def checked(author: Author, sealed: Iterable[bytes]) -> list[Contribution]:
    """The entries of `author`'s whole log. BadContent unless all are valid and form one chain."""
    entries, _ = continued(End(author), sealed)
    return entries


def gained_steps(head: Head, earlier: Sequence[Head]) -> int:
    """Steps between `head` and the checkpoint it continues, one of the `earlier` heads.

    0 when that checkpoint is not among them: unknown steps are not claimed.
    """
    if head.parent is None:
        return head.step
    parents = [each.step for each in earlier if each.manifest == head.parent]
    return max(0, head.step - max(parents)) if parents else 0
