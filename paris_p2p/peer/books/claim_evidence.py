"""The published work that supports a claim. A claim costs nothing; served checkpoints do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from paris_p2p.peer.books.resume_states import learn_resumes
from paris_p2p.peer.books.survey import furthest_steps, read_heads
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.transfer.proof_of_storage import is_served
from paris_p2p.records.claim import Claim, Evidence
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume

MOST_TRIED = 3
"""Most records of one author that are tried, the furthest first: anyone can sign empty records."""


async def evidence_for(membership: Membership, claim: Claim) -> Evidence:
    """The steps announced for the claimed slot; of the claim's author, only served ones count."""
    slot = claim.expert
    await asyncio.gather(
        read_heads(membership.swarm, membership.heads, slot, membership.run_id),
        learn_resumes(membership, [slot]),
    )
    known: list[Head | Resume] = [*membership.heads.known(slot), *membership.resumes.known(slot)]
    steps = furthest_steps(record for record in known if record.author != claim.author)
    authors: list[Head | Resume] = [
        *membership.heads.by(slot, claim.author),
        *membership.resumes.by(slot, claim.author),
    ]
    own = [record for record in authors if not _is_borrowed(record, known)]
    for record in sorted(own, key=lambda record: -record.step)[:MOST_TRIED]:
        if await _is_there(membership, record.manifest):
            steps[claim.author] = record.step
            break
    return Evidence(steps, membership.run.recipe.publish_every)


def _is_borrowed(record: Head | Resume, known: Iterable[Head | Resume]) -> bool:
    """Whether another author names the same content and claims fewer steps for it."""
    return any(
        other.manifest == record.manifest and other.author != record.author
        for other in known
        if other.step < record.step
    )


async def _is_there(membership: Membership, content: bytes) -> bool:
    return await asyncio.to_thread(membership.node.blobs.complete, content) or await is_served(
        membership, content
    )
