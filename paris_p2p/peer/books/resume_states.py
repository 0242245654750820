"""Reading the announced resume states into this peer's book."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from paris_p2p.peer.books.survey import READ_AT_ONCE, read_records
from paris_p2p.peer.membership import Membership
from paris_p2p.records.keys import resume_key


async def learn_resumes(membership: Membership, slots: Iterable[int]) -> None:
    """Add the announced resume states of these slots to the book. Any peer may announce them."""

    async def learn(slot: int) -> None:
        async with reading:
            await read_records(
                membership.swarm, membership.resumes, resume_key(membership.run_id, slot), slot
            )

    reading = asyncio.Semaphore(READ_AT_ONCE)
    await asyncio.gather(*map(learn, slots))
