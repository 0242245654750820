"""Whether those who say that they serve a content do: an announcement alone proves nothing.

A provider proves it by sending the manifest and one chunk of it, chosen at random by whoever asks.
One who passes our question on to somebody who has the chunk proves that somebody has it.
"""

from __future__ import annotations

import asyncio

from paris_p2p.errors import ParisError
from paris_p2p.network.wire import CHUNK_PROTOCOL, ChunkClient
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.sources import Source
from paris_p2p.records.manifest import Manifest

PATIENCE = 20.0
"""Seconds a provider has to send both."""
ASKED_PER_PROOF = 3
"""Providers that are asked at most, for each that is needed."""


async def proven_providers(peer: Peer, content: bytes, enough: int) -> int:
    """How many other peers prove to hold a content; counts no further than `enough` or a few more.

    At most ASKED_PER_PROOF * `enough` are asked. Where liars are so many that those do not suffice,
    too few are counted, never too many.
    """
    sources = (await peer.fetcher.providers(content))[: ASKED_PER_PROOF * enough]
    proven = 0
    while sources and proven < enough:
        asked, sources = sources[:enough], sources[enough:]
        proven += sum(await asyncio.gather(*(_proves(peer, source, content) for source in asked)))
    return proven


async def _proves(peer: Peer, source: Source, content: bytes) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            stream = await peer.swarm.open(source.author, CHUNK_PROTOCOL, source.addresses)
            try:
                return await _sends_a_part(ChunkClient(stream), content, peer)
            finally:
                await stream.close()
    except (ParisError, TimeoutError):
        return False


async def _sends_a_part(client: ChunkClient, content: bytes, peer: Peer) -> bool:
    await client.request([content])
    _, encoded = await client.receive()
    if encoded is None:
        return False
    chunks = (await asyncio.to_thread(Manifest.decode, encoded)).chunks
    if not chunks:
        return True
    await client.request([peer.rng.choice(chunks)])
    _, data = await client.receive()
    return data is not None
