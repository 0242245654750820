"""Resume states: everything that a slot's training needs to go on elsewhere as if never stopped."""

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

    A claim about content, like a head: whoever trains from it checks every tensor first.
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
    """Bytes of it."""
    created: Time


def ranked_resumes(
    resumes: Iterable[Resume], trusted_authors: Collection[Author] = ()
) -> list[Resume]:
    """The resume states that count, the one to continue from first.

    One counts when its author is trusted (everyone is when `trusted_authors` is empty). The highest
    step wins, then the lowest manifest id, so that all who see the same ones agree.
    """
    counting = [
        resume for resume in resumes if not trusted_authors or resume.author in trusted_authors
    ]
    return sorted(counting, key=_rank)


def _rank(resume: Resume) -> tuple[int, bytes, bytes, bytes]:
    """Sorts the furthest first. The last two parts only make the order total."""
    return (-resume.step, resume.manifest, resume.author, encode(resume.to_body()))
