"""Where training of a slot can begin, in the order worth a try."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from paris_p2p.identity import Author
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume

MOST_RESUMES = 3
"""Resume states of others that are tried: each is large, and anyone can sign one."""

PATIENCE = 30.0
"""Seconds without a byte after which a start that could be had a moment ago is passed over."""

LAST_PATIENCE = 60.0
"""Seconds that all starts which nobody serves now may cost together, before training begins from
scratch: their peers may be back by then."""

LEAST_PATIENCE = 5.0
"""Seconds that each of them has in any case: enough for a peer that lives, however many dead or
invented ones come before it. Who answers late when many are asked is taken for gone."""


@dataclass(frozen=True)
class Start:
    """A state to train on from.

    A private snapshot or somebody's resume state (both exact), a head (averaged weights only), or
    none of them: from scratch.
    """

    step: int = 0
    images: int = 0
    snapshot: Path | None = None
    resume: Resume | None = None
    head: Head | None = None

    @property
    def published(self) -> Resume | Head | None:
        """The record whose content is started from."""
        return self.resume or self.head

    @property
    def is_exact(self) -> bool:
        """Whether training goes on as if it had never stopped."""
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
    """Every start worth a try: the furthest step first, exact states before heads near them.

    A head lacks the optimizer's moments, the random state and the order, so an exact state comes
    before one that is less than `spacing` steps ahead: resume states are published so many steps
    apart. `resumes` and `heads` are in the order of trust (`ranked_resumes`, `ranked_heads`), which
    is kept.

    At equal steps a snapshot comes before a resume state, which has to be fetched, when this peer
    `published` that step itself; before that, nobody but it has seen what its snapshot is worth.
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
    """The starts in their order, those whose content is not among what is `served` put off.

    Each with the seconds that it may be waited for. A peer that died is announced for minutes, and
    anyone can sign records of content that nobody has: a start that can be had now comes before
    one that has to be waited for, and the latter share LAST_PATIENCE evenly, so that the first of
    them cannot use it up; LEAST_PATIENCE is left to each. From scratch comes last all the same.
    """
    ordered = sorted(found, key=lambda start: (start.is_scratch, not _is_served(start, served)))
    put_off = sum(not _is_served(start, served) for start in found)
    share = min(PATIENCE, max(LEAST_PATIENCE, LAST_PATIENCE / max(put_off, 1)))
    return [(start, PATIENCE if _is_served(start, served) else share) for start in ordered]


def _is_served(start: Start, served: Set[bytes]) -> bool:
    return start.published is None or start.published.manifest in served


def parent_of(start: Start, heads: Iterable[Head], own: Author) -> bytes | None:
    """Manifest id of the newest known checkpoint that the state at `start` continues.

    `heads` are those of the slot; `own` is the author of snapshots.
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
    """The held-out loss that the author of a start says it has; None where it says nothing.

    A resume state is published together with a head of the same step and the same weights.
    """
    record = start.published
    if isinstance(record, Resume):
        same = (head for head in heads if (head.author, head.step) == (record.author, record.step))
        record = next(same, None)
    return record.held_out_loss if record is not None else None
