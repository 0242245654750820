"""Resume states: everything needed to continue a slot's training on another machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from paris_p2p.identity import Author
from paris_p2p.records.codec import encode
from paris_p2p.records.fields import AuthorKey, Count, Hash, Integer, Signed, Time
from paris_p2p.records.manifest import MAX_SIZE
from paris_p2p.records.run import Slot


@dataclass(frozen=True)
class Resume(Signed):
    """An author's newest resume state of one slot. Anyone may pass it on; its author signs it.

    `expert` is the slot: an expert's cluster, or ROUTER. Like a head, the record is a claim about
    content: a trainer checks every tensor before it uses one.
    """

    KIND: ClassVar[str] = "resume"

    run: Hash
    expert: Slot
    author: AuthorKey
    step: Count
    images: Count
    """Training images seen since the first step, repeats counted."""
    manifest: Hash
    """Id of the state's content."""
    size: Annotated[int, Integer(0, MAX_SIZE)]
    """Bytes of the state."""
    created: Time


def ranked_resumes(resumes: Iterable[Resume], publishers: Collection[Author] = ()) -> list[Resume]:
    """The resume states that count, best first: the first is the one to continue from.

    A state counts when its author is trusted (everyone is when `publishers` is empty). The
    highest step wins, then the lowest manifest id, so that all peers that see the same states
    agree.
    """
    counting = [resume for resume in resumes if not publishers or resume.author in publishers]
    return sorted(counting, key=_rank)


def _rank(resume: Resume) -> tuple[int, bytes, bytes, bytes]:
    """Sorts the furthest first. The last two parts only make the order total."""
    return (-resume.step, resume.manifest, resume.author, encode(resume.to_body()))
