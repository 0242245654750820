"""Whether those who say that they serve a content do: an announcement alone proves nothing.

A provider proves it by sending the manifest and one chunk of it, chosen at random by whoever asks.
One who passes our question on to somebody who has the chunk proves that somebody has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from paris_p2p.errors import ParisError
from paris_p2p.identity import Author
from paris_p2p.network.chunk_protocol import (
    CHUNK_PROTOCOL,
    STREAMS_PER_PEER,
    ChunkClient,
    ProviderBusy,
)
from paris_p2p.network.pacing import paced
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.transfer.chunk_sources import Source
from paris_p2p.records.manifest import Manifest

PATIENCE = 20.0
"""Seconds a provider has to send what it is asked for."""
ASKED_PER_PROOF = 3
"""Providers that are asked at most, for each that is needed."""
ASKED_AT_ONCE = 8
"""Providers that are asked, all at once, whether they are there at all."""
QUESTIONS_PER_PEER = STREAMS_PER_PEER // 2
"""Questions that one provider is asked at a time: it serves no more streams to one peer than it
would, and fetches need some of them."""

Question = Callable[[ChunkClient], Awaitable[bool]]


async def proven_providers(membership: Membership, content: bytes, enough: int) -> int:
    """How many other peers prove to hold a content; counts no further than `enough` or a few more.

    At most ASKED_PER_PROOF * `enough` are asked. Where liars are so many that those do not suffice,
    too few are counted, never too many.
    """
    sources = (await membership.fetcher.providers(content))[: ASKED_PER_PROOF * enough]
    question = partial(_sends_a_part, membership, content)
    proven = 0
    while sources and proven < enough:
        asked, sources = sources[:enough], sources[enough:]
        proven += sum(
            await asyncio.gather(*(_ask(membership, source, question) for source in asked))
        )
    return proven


async def is_served(membership: Membership, content: bytes) -> bool:
    """Whether some other peer sends the manifest of a content within PATIENCE, or is too busy to.

    That tells the living from the dead; whether they hold all of it, only fetching tells.
    """
    sources = (await membership.fetcher.providers(content))[:ASKED_AT_ONCE]
    question = partial(_sends_manifest, content)
    asked = [
        asyncio.create_task(_ask(membership, source, question, busy=True)) for source in sources
    ]
    try:
        for answer in asyncio.as_completed(asked):
            if await answer:
                return True
        return False
    finally:
        await end_tasks(*asked)


async def _ask(
    membership: Membership, source: Source, question: Question, *, busy: bool = False
) -> bool:
    """What a provider's answer amounts to; `busy` when it has no time for it now.

    False when none comes within PATIENCE, the wait for a turn to ask this provider included.
    """
    try:
        async with asyncio.timeout(PATIENCE), _turn_to_ask(membership, source.author):
            stream = await membership.swarm.open(source.author, CHUNK_PROTOCOL, source.addresses)
            try:
                return await question(ChunkClient(paced(stream, membership.fetcher.pacers)))
            finally:
                await stream.close()
    except ProviderBusy:
        return busy
    except (ParisError, TimeoutError):
        return False


def _turn_to_ask(membership: Membership, author: Author) -> asyncio.Semaphore:
    """Held while a provider is asked; forgotten when nobody asks it any more."""
    return membership.node.asking.setdefault(author, asyncio.Semaphore(QUESTIONS_PER_PEER))


async def _sends_manifest(content: bytes, client: ChunkClient) -> bool:
    await client.request([content])
    _, encoded = await client.receive()
    return encoded is not None


async def _sends_a_part(membership: Membership, content: bytes, client: ChunkClient) -> bool:
    await client.request([content])
    _, encoded = await client.receive()
    if encoded is None:
        return False
    chunks = (await asyncio.to_thread(Manifest.decode, encoded)).chunks
    if not chunks:
        return True
    await client.request([membership.node.rng.choice(chunks)])
    _, data = await client.receive()
    return data is not None
