"""Hand-overs: "from now on I sign with that key". Both keys sign, so neither can be forced.

What names an author (a run's lists, a contribution log) then follows the chain of hand-overs, and
what the old key signed stays valid.

A hand-over has no clock that anybody else can check: whoever stole the old key can sign one of its
own and date it before the owner's. So time decides nothing here. A peer keeps the first hand-over
of a key that it sees and no other (`peer/key_handover.py`); where several are seen at once, the
key is *contested* and nobody inherits: a thief can stop an inheritance, never receive it from
anyone who had seen the owner's. For a key that is known to be stolen that is the safe side, and
only whoever maintains the list can settle it.

For the same reason a hand-over adds a key to those that count and takes none away: what a thief
signs with the old key looks like what its owner signed before. A list from which a stolen key must
go is a new run's list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

from paris_p2p.errors import BadContent
from paris_p2p.identity import SIGNATURE_LENGTH, Author, Identity, verify
from paris_p2p.records.codec import encode
from paris_p2p.records.fields import AuthorKey, Bytes, Signed, Text, Time
from paris_p2p.records.run import MAX_AUTHORS, RunManifest

MAX_CHAIN = 16
"""Hand-overs that are followed from one author."""

_DOMAIN = b"paris-p2p/1/handover-consent\0"


@dataclass(frozen=True)
class Handover(Signed):
    """The old key gives its name to `author`, the new one, which signs for taking it."""

    KIND: ClassVar[str] = "handover"

    author: AuthorKey
    old: AuthorKey
    created: Time
    reason: Annotated[str, Text(64)]
    consent: Annotated[bytes, Bytes(SIGNATURE_LENGTH)]
    """The old key's signature of all of the above."""

    @classmethod
    def between(cls, old: Identity, new: Identity, created: float, reason: str) -> Self:
        """The hand-over to `new` that `old` consents to; still to be sealed by `new`."""
        consent = old.sign(_statement(old.author, new.author, created, reason))
        return cls(new.author, old.author, created, reason, consent)

    def check(self) -> None:
        if self.old == self.author:
            raise BadContent("old: a key cannot be handed over to itself")
        statement = _statement(self.old, self.author, self.created, self.reason)
        if not verify(self.old, self.consent, statement):
            raise BadContent("consent: is not the old key's signature of this hand-over")


def lineage(author: Author, handovers: Iterable[Handover]) -> tuple[Author, ...]:
    """`author` and those who came after it, in order, the present one last.

    Ends before a key that is contested (handed over to several), that closes a circle, or that is
    more than MAX_CHAIN hand-overs away. The answer depends on the set of hand-overs only.
    """
    successors = _successors(handovers)
    line = [author]
    while len(line) <= MAX_CHAIN:
        heirs = successors.get(line[-1], set())
        if len(heirs) != 1 or heirs <= set(line):
            break
        line.extend(heirs)
    return tuple(line)


def resolve(author: Author, handovers: Iterable[Handover]) -> Author:
    """Who signs for `author` now; the author itself when nothing was handed over."""
    return lineage(author, handovers)[-1]


def ancestry(author: Author, handovers: Collection[Handover]) -> tuple[Handover, ...]:
    """The hand-overs that led to `author`, the oldest first; MAX_CHAIN of them at most."""
    by_heir = {each.author: each for each in sorted(handovers, key=lambda each: each.old)}
    chain: list[Handover] = []
    while len(chain) < MAX_CHAIN and author in by_heir:
        handover = by_heir.pop(author)
        chain.insert(0, handover)
        author = handover.old
    return tuple(chain)


def extended(authors: Iterable[Author], handovers: Collection[Handover]) -> tuple[Author, ...]:
    """`authors` and all who took over from them, each once: what a list of authors stands for."""
    lines = (lineage(author, handovers) for author in authors)
    return tuple(dict.fromkeys(author for line in lines for author in line))


def in_force(run: RunManifest, handovers: Collection[Handover]) -> RunManifest:
    """The run with its lists as they stand now: heirs count like those they took over from.

    Where a run lists members and nobody in particular to publish heads, its members do.
    """
    members = extended(run.members, handovers)[:MAX_AUTHORS]
    publishers = extended(run.trusted_authors or run.members, handovers)
    counting = [author for author in publishers if author in members or not members]
    return replace(run, members=members, trusted_authors=tuple(counting[:MAX_AUTHORS]))


def _successors(handovers: Iterable[Handover]) -> dict[Author, set[Author]]:
    successors: dict[Author, set[Author]] = defaultdict(set)
    for handover in handovers:
        successors[handover.old].add(handover.author)
    return successors


def _statement(old: Author, new: Author, created: float, reason: str) -> bytes:
    return _DOMAIN + encode([old, new, float(created), reason])
