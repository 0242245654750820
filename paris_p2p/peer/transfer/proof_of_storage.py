"""The check that a provider holds the content that it announces.

A provider proves it by sending the manifest and one chunk, chosen at random by the asker. A
provider that forwards the question to another peer proves that the other peer has the chunk.
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
"""Seconds that a provider has to send the requested bytes."""
ASKED_PER_PROOF = 3
"""Most providers asked for each proof that is needed."""
ASKED_AT_ONCE = 8
"""Most providers asked, all at once, whether they serve a content at all."""
QUESTIONS_PER_PEER = STREAMS_PER_PEER // 2
"""Most questions to one provider at a time. It limits the streams per peer, and fetches need some.
"""

Question = Callable[[ChunkClient], Awaitable[bool]]


async def proven_providers(membership: Membership, content: bytes, enough: int) -> int:
    """How many other peers prove that they hold a content. Counts to `enough` or a few more.

    At most ASKED_PER_PROOF * `enough` are asked. So with many liars too few are counted, never too
    many.
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
    """Whether another peer sends the manifest of a content within PATIENCE, or is too busy to.

    This tells live providers from dead ones. Only fetching tells whether they hold all of it.
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
    """Whether a provider answers `question`; `busy` if it is too busy.

    False if no answer comes within PATIENCE, including the wait for a turn to ask this provider.
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
    """A semaphore to hold while a provider is asked. It is forgotten when no question holds it."""
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
