"""What should be kept, copied and let go: pure decisions over what is known.

A content is *current* while the run is made of it, or one of the first heads or resume states of a
slot names it. A checkpoint or resume state is *superseded* when its author has published a newer
one, so that no record names it any more; *outranked* when others' records come before its own.

What is outranked goes only where room is needed: ranks follow what authors say, and nobody should
be able to have everybody's work thrown away by saying more.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Set
from dataclasses import dataclass

from paris_p2p.identity import Author
from paris_p2p.peer.headbook import HeadBook
from paris_p2p.peer.recordbook import RecordBook
from paris_p2p.records.head import Head, ranked_heads
from paris_p2p.records.resume import Resume, ranked_resumes
from paris_p2p.records.run import RunManifest

HEADS_KEPT = 2
"""Heads of each slot that are worth copying, best first."""
RESUMES_KEPT = 1
"""Resume states of each slot that are."""
TRAINED = ("checkpoint", "resume")
"""Kinds of content that newer ones supersede."""


@dataclass(frozen=True)
class Stored:
    """A content in the store, whole or in part."""

    content: bytes
    kind: str
    """The kind in its manifest; "" where that is damaged."""
    named: bool
    """Whether a head or resume state that is known names it."""
    last_use: float
    """When it was wanted or used last, in Unix seconds."""


@dataclass(frozen=True)
class Thin:
    """A content worth copying, and how many peers provide it."""

    content: bytes
    providers: int


def wanted_content(
    run: RunManifest,
    heads: HeadBook,
    resumes: RecordBook[Resume],
    among: Container[bytes] | None = None,
) -> set[bytes]:
    """What the swarm should keep: the run's own content, each slot's first heads and first resume.

    More than one head a slot, so that one that names nothing real does not displace the others.
    A resume state is eight times as large and only saves time, so one is enough.
    (The run record itself is one chunk that every peer of the run holds anyway.)
    With `among`, only records that name one of these contents are looked at.
    """

    def counts(record: Head | Resume) -> bool:
        return among is None or record.manifest in among

    kept = (
        head.manifest
        for slot in run.slots()
        for head in ranked_heads(filter(counts, heads.of(slot)), run.trusted_authors)[:HEADS_KEPT]
    )
    furthest = (
        resume.manifest
        for slot in run.slots()
        for resume in ranked_resumes(filter(counts, resumes.of(slot)), run.trusted_authors)[
            :RESUMES_KEPT
        ]
    )
    return run.content_ids() | set(kept) | set(furthest)


def own_content(author: Author, heads: HeadBook, resumes: RecordBook[Resume]) -> set[bytes]:
    """What an author published last in every slot."""
    return {head.manifest for head in heads.all() if head.author == author} | {
        resume.manifest for resume in resumes.all() if resume.author == author
    }


def worth_copying(
    missing: Set[bytes], begun: Set[bytes], providers: Mapping[bytes, int], replicas: int | None
) -> list[Thin]:
    """Which of the `missing` contents this peer should copy, the thinnest first.

    Those with fewer than `replicas` providers (None: all of them), and those that are here in part:
    damaged, or not fetched to the end. Content that nobody provides is left out: there is nowhere
    to fetch it from.
    """
    found = [Thin(content, providers.get(content, 0)) for content in missing]
    worth = [
        item
        for item in found
        if item.providers > 0
        and (replicas is None or item.providers < replicas or item.content in begun)
    ]
    return sorted(worth, key=lambda item: (item.providers, item.content))


def superseded(stored: Iterable[Stored], keep: Container[bytes], before: float) -> list[bytes]:
    """Contents to let go: superseded, and of no use since `before`. The longest unused first."""
    return _gone(item for item in stored if not item.named and _may_go(item, keep, before))


def outranked(stored: Iterable[Stored], keep: Container[bytes], before: float) -> list[bytes]:
    """Likewise those that are outranked, to let go where room is needed."""
    return _gone(item for item in stored if item.named and _may_go(item, keep, before))


def to_spare(
    others: Mapping[bytes, int], sizes: Mapping[bytes, int], replicas: int, needed: int
) -> list[bytes]:
    """Which current contents to do without so that `needed` bytes become free; the fewest that do.

    Only those that at least `replicas` others provide, the most provided first. Nothing where all
    of them together are not enough: then it would be for nothing.
    """
    enough = [content for content, count in others.items() if count >= replicas]
    chosen: list[bytes] = []
    for content in sorted(enough, key=lambda content: (-others[content], content)):
        if needed <= 0:
            break
        chosen.append(content)
        needed -= sizes[content]
    return chosen if needed <= 0 else []


def _may_go(item: Stored, keep: Container[bytes], before: float) -> bool:
    trained = item.kind in TRAINED or not item.kind
    return trained and item.content not in keep and item.last_use < before


def _gone(items: Iterable[Stored]) -> list[bytes]:
    return [item.content for item in sorted(items, key=lambda item: (item.last_use, item.content))]
