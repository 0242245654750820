"""Heads: "my newest checkpoint of this expert", and which author's head counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from paris_p2p.identity import Author
from paris_p2p.records.codec import encode
from paris_p2p.records.fields import (
    AuthorKey,
    Bytes,
    Count,
    Hash,
    Integer,
    Maybe,
    Number,
    Signed,
    Time,
)
from paris_p2p.records.manifest import MAX_SIZE
from paris_p2p.records.run import Slot

Loss = Annotated[float, Number(0.0, 1e6)]


@dataclass(frozen=True)
class Head(Signed):
    """An author's newest checkpoint of one slot. Anyone may pass it on; its author signs it.

    `expert` is the slot: an expert's cluster, or ROUTER.
    """

    KIND: ClassVar[str] = "head"

    run: Hash
    expert: Slot
    author: AuthorKey
    step: Count
    images: Count
    """Training images seen since the first step, repeats counted."""
    manifest: Hash
    """Id of the checkpoint's content."""
    size: Annotated[int, Integer(0, MAX_SIZE)]
    """Bytes of the checkpoint."""
    train_loss: Loss
    held_out_loss: Loss
    parent: Annotated[bytes | None, Maybe(Bytes(32))]
    """Manifest id of the checkpoint it continues; None for one trained from scratch."""
    created: Time


def ranked_heads(heads: Iterable[Head], publishers: Collection[Author] = ()) -> list[Head]:
    """The heads that count, best first: the first is the one to fetch and to continue from.

    A head counts when its author is trusted (everyone is when `publishers` is empty). The
    highest step wins, then the lowest held-out loss, then the lowest manifest id, so that all peers
    that see the same heads agree.
    """
    counting = [head for head in heads if not publishers or head.author in publishers]
    return sorted(counting, key=_rank)


def best_head(heads: Iterable[Head], publishers: Collection[Author] = ()) -> Head | None:
    """The first of `ranked_heads`; None when no head counts."""
    return next(iter(ranked_heads(heads, publishers)), None)


def _rank(head: Head) -> tuple[int, float, bytes, bytes, bytes]:
    """Sorts the best first. The last two parts only make the order total."""
    return (-head.step, head.held_out_loss, head.manifest, head.author, encode(head.to_body()))
