"""The heads of each slot that are available now: here, or served by a peer.

Anyone can sign heads of content that nobody has. So the providers of all heads that rank above
those here are asked at once, within SECONDS in all. Only a slot without any available head uses
them up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

from paris_p2p.errors import Unreachable
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.report import Report, head_row, held_contents, known_heads
from paris_p2p.peer.transfer.proof_of_storage import is_served
from paris_p2p.records.head import Head

SECONDS: Final = 15.0
"""Seconds for the whole search: enough for a peer that has just died to be back."""

GRACE: Final = 3.0
"""Seconds left for better heads once every slot has an available head."""

PAUSE: Final = 1.0
"""Seconds before the providers of an unavailable head are asked again."""

AT_ONCE: Final = 64
"""Most heads asked for at a time."""

TURN: Final = 4.0
"""Seconds for each question, so that a provider that lets us wait does not delay the others."""

TELL: Final = 1.0
"""Most seconds between two events while no answer comes."""


@dataclass
class Candidates:
    """The heads of every slot, best first, and the availability of their content."""

    ranked: Mapping[int, Sequence[Head]]
    held: Set[bytes]
    answers: dict[bytes, bool] = field(default_factory=dict)
    """Whether a peer serves a content, once that is known."""

    def worth_asking(self) -> list[Head]:
        """The heads ahead of the first one held of their slot, the best of every slot first."""
        better = [self._before_held(heads) for heads in self.ranked.values()]
        rows = zip_longest(*better)
        return [head for row in rows for head in row if head is not None]

    def has_something(self, slot: int) -> bool:
        """Whether any head of the slot is available."""
        return any(self.usable(head) for head in self.ranked[slot])

    def usable(self, head: Head) -> bool:
        return head.manifest in self.held or self.answers.get(head.manifest, False)

    def order(self, slot: int) -> list[Head]:
        """The order of trying the heads: available ones, then those not known to be unserved."""
        heads = self.ranked[slot]
        unknown = [h for h in heads if not self.usable(h) and self.answers.get(h.manifest, True)]
        return [head for head in heads if self.usable(head)] + unknown

    def _before_held(self, heads: Sequence[Head]) -> list[Head]:
        """The heads ahead of the first one held, each content once."""
        better: dict[bytes, Head] = {}
        for head in heads:
            if head.manifest in self.held:
                break
            better.setdefault(head.manifest, head)
        return list(better.values())


async def find_candidates(membership: Membership) -> AsyncGenerator[Report]:
    """The data that sampling needs, like `heads_report`, but without heads known to be unserved.

    Yields "looking" events, then one "heads" event.
    """
    yield {"event": "looking", "candidates": 0, "answering": 0}
    await membership.survey()
    candidates = await _known(membership)
    worth = candidates.worth_asking()
    async for _ in _asked(membership, candidates, worth):
        yield {
            "event": "looking",
            "candidates": len(worth),
            "answering": sum(candidates.answers.values()),
        }
    sealed = await asyncio.to_thread(membership.node.blobs.chunks.get, membership.run_id)
    yield {
        "event": "heads",
        "sealed_run": sealed.hex(),
        "heads": {
            str(slot): [_row(candidates, head) for head in candidates.order(slot)]
            for slot in candidates.ranked
        },
    }


def _row(candidates: Candidates, head: Head) -> Report:
    held = head.manifest in candidates.held
    return {**head_row(head), "held": held, "served": candidates.answers.get(head.manifest)}


async def _known(membership: Membership) -> Candidates:
    ranked = known_heads(membership)
    return Candidates(ranked, await asyncio.to_thread(held_contents, membership, ranked.values()))


async def _asked(
    membership: Membership, candidates: Candidates, heads: Sequence[Head]
) -> AsyncGenerator[None]:
    """Ask for all of these heads at once. Yields whenever there may be news to report."""
    places = asyncio.Semaphore(AT_ONCE)
    asking = {asyncio.create_task(_ask(membership, candidates, head, places)) for head in heads}
    now = asyncio.get_running_loop().time
    end = now() + SECONDS
    slots = [slot for slot, heads in candidates.ranked.items() if heads]
    try:
        yield
        while asking and now() < end:
            if all(candidates.has_something(slot) for slot in slots):
                end = min(end, now() + GRACE)
            _, asking = await asyncio.wait(
                asking, timeout=min(TELL, end - now()), return_when=asyncio.FIRST_COMPLETED
            )
            yield
    finally:
        await end_tasks(*asking)


async def _ask(
    membership: Membership, candidates: Candidates, head: Head, places: asyncio.Semaphore
) -> None:
    """Find out whether a peer serves a head. Ask again while its slot has no available head."""
    while True:
        async with places:
            answer = await _is_served(membership, head.manifest)
        if answer is not None:
            candidates.answers[head.manifest] = answer
        if answer or candidates.has_something(head.expert):
            return
        await asyncio.sleep(PAUSE)


async def _is_served(membership: Membership, content: bytes) -> bool | None:
    """Whether a peer serves a content; None if that was not found out in time."""
    with suppress(Unreachable, TimeoutError):
        async with asyncio.timeout(TURN):
            return await is_served(membership, content)
    return None
