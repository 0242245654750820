"""The starts from which a slot can be trained, in the order of trying them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from paris_p2p.identity import Author
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume

MOST_RESUMES = 3
"""Most resume states of others that are tried: each is large, and anyone can sign one."""

PATIENCE = 30.0
"""Seconds without a byte after which a start that was served a moment ago is passed over."""

LAST_PATIENCE = 60.0
"""Seconds that all unserved starts may take together before training begins from scratch: their
peers may return in that time."""

LEAST_PATIENCE = 5.0
"""Least seconds for each unserved start: enough for a live peer, however many dead or invented ones
come before it. A live peer that answered late counts as unserved, too."""


@dataclass(frozen=True)
class Start:
    """A state to continue training from.

    It is a private snapshot or a published resume state (both exact), a head (averaged weights
    only), or, with none of them, scratch.
    """

    step: int = 0
    images: int = 0
    snapshot: Path | None = None
    resume: Resume | None = None
    head: Head | None = None

    @property
    def published(self) -> Resume | Head | None:
        """The record of the published content that this start uses."""
        return self.resume or self.head

    @property
    def is_exact(self) -> bool:
        """Whether training continues as if it had never stopped."""
        return self.snapshot is not None or self.resume is not None

    @property
    def is_scratch(self) -> bool:
        return self.name == "scratch"

    @property
    def name(self) -> str:
        if self.snapshot is not None:
            return "snapshot"
        return self.published.KIND if self.published is not None else "scratch"

    def __str__(self) -> str:
        return f"{self.name} at step {self.step}"


def starts(
    snapshots: Sequence[Start],
    resumes: Sequence[Resume],
    heads: Sequence[Head],
    spacing: int,
    published: Set[int] = frozenset(),
) -> list[Start]:
    """Every start worth trying: the furthest step first, exact states before heads near them.

    A head lacks the optimizer's moments, the random state and the data order. So an exact state
    comes before a head that is less than `spacing` steps ahead. `spacing` is the number of steps
    between two resume states. `resumes` and `heads` keep the order of `ranked_resumes` and
    `ranked_heads`.

    At equal steps, a snapshot comes before a resume state if this peer `published` that step, since
    it needs no fetch. Otherwise it comes after: no other peer has tested that snapshot.
    """
    found = [
        *(start for start in snapshots if start.step in published),
        *(Start(item.step, item.images, resume=item) for item in resumes[:MOST_RESUMES]),
        *(start for start in snapshots if start.step not in published),
        *(Start(item.step, item.images, head=item) for item in heads),
        Start(),
    ]

    def worth(start: Start) -> tuple[int, bool]:
        return (start.step + (spacing if start.is_exact else 0), not start.is_exact)

    return sorted(found, key=worth, reverse=True)


def within_reach_first(found: Sequence[Start], served: Set[bytes]) -> list[tuple[Start, float]]:
    """The starts with the seconds to wait for each, those with `served` content first.

    A dead peer stays announced for minutes, and anyone can sign records of content that nobody has.
    So the starts that nobody serves come later. They share LAST_PATIENCE evenly, so that the first
    cannot use it up, but each gets at least LEAST_PATIENCE. Scratch comes last.
    """
    ordered = sorted(found, key=lambda start: (start.is_scratch, not _is_served(start, served)))
    put_off = sum(not _is_served(start, served) for start in found)
    share = min(PATIENCE, max(LEAST_PATIENCE, LAST_PATIENCE / max(put_off, 1)))
    return [(start, PATIENCE if _is_served(start, served) else share) for start in ordered]


def _is_served(start: Start, served: Set[bytes]) -> bool:
    return start.published is None or start.published.manifest in served


def parent_of(start: Start, heads: Iterable[Head], own: Author) -> bytes | None:
    """Manifest id of the newest known checkpoint that the state at `start` continues.

    `heads` : the heads of the slot. `own` : the author of the snapshots.
    """
    if start.head is not None:
        return start.head.manifest
    if start.is_scratch:
        return None
    author = start.resume.author if start.resume is not None else own
    lineage = [head for head in heads if head.author == author and head.step <= start.step]
    newest = max(lineage, key=lambda head: head.step, default=None)
    return newest.manifest if newest is not None else None


def claimed_loss(start: Start, heads: Iterable[Head]) -> float | None:
    """The held-out loss that the author of a start claims for it; None if there is no claim.

    A resume state is published together with a head of the same step and the same weights.
    """
    record = start.published
    if isinstance(record, Resume):
        same = (head for head in heads if (head.author, head.step) == (record.author, record.step))
        record = next(same, None)
    return record.held_out_loss if record is not None else None
