"""The resume states announced for a slot, taken into this peer's book."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from paris_p2p.peer.books.survey import READ_AT_ONCE, read_records
from paris_p2p.records.keys import resume_key

if TYPE_CHECKING:
    from paris_p2p.peer.peer import Peer


async def learn_resumes(peer: Peer, slots: Iterable[int]) -> None:
    """Ask the swarm which resume states there are; anyone may announce anyone's."""

    async def learn(slot: int) -> None:
        async with reading:
            await read_records(peer.swarm, peer.resumes, resume_key(peer.run_id, slot), slot)

    reading = asyncio.Semaphore(READ_AT_ONCE)
    await asyncio.gather(*map(learn, slots))
