"""Which heads of each slot can be had now: those that are here, and those that somebody serves.

Anyone can sign heads of content that nobody has, so all that could be better than what is here are
asked for at once, and all together have SECONDS, however many there are. Only a slot of which
nothing can be had uses that up.
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
"""All that is looked for together: time for a peer that just died to be back."""

GRACE: Final = 3.0
"""Seconds that better heads have to answer once something of every slot can be had."""

PAUSE: Final = 1.0
"""Seconds before a head of which nothing can be had is asked for again."""

AT_ONCE: Final = 64
"""Heads that are asked for at a time."""

TURN: Final = 4.0
"""Seconds that each has then: one whose provider lets us wait must not keep the others waiting."""


TELL: Final = 1.0
"""Seconds without an answer after which the listener hears all the same."""


@dataclass
class Candidates:
    """The heads of every slot, best first, and what is known of their content."""

    ranked: Mapping[int, Sequence[Head]]
    held: Set[bytes]
    answers: dict[bytes, bool] = field(default_factory=dict)
    """Whether somebody serves a content, once that is known."""

    def worth_asking(self) -> list[Head]:
        """Heads that come before the first one held of their slot, the best of every slot first."""
        better = [self._before_held(heads) for heads in self.ranked.values()]
        rows = zip_longest(*better)
        return [head for row in rows for head in row if head is not None]

    def has_something(self, slot: int) -> bool:
        """Whether some head of the slot can be had."""
        return any(self.usable(head) for head in self.ranked[slot])

    def usable(self, head: Head) -> bool:
        return head.manifest in self.held or self.answers.get(head.manifest, False)

    def order(self, slot: int) -> list[Head]:
        """The order to try them in: what can be had, then what is not known to be nobody's."""
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
    """What sampling needs, like `heads_report`, but of each slot only heads that can be had.

    "looking" events, then one "heads".
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
    """Ask for all of these heads at once; a turn when there may be something new to tell."""
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
    """Whether somebody serves a head, asked again as long as nothing of its slot can be had."""
    while True:
        async with places:
            answer = await _is_served(membership, head.manifest)
        if answer is not None:
            candidates.answers[head.manifest] = answer
        if answer or candidates.has_something(head.expert):
            return
        await asyncio.sleep(PAUSE)


async def _is_served(membership: Membership, content: bytes) -> bool | None:
    """Whether somebody serves a content; None when that could not be told in time."""
    with suppress(Unreachable, TimeoutError):
        async with asyncio.timeout(TURN):
            return await is_served(membership, content)
    return None
