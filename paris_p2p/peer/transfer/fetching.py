"""Fetching content by its id from its providers into one store, verified.

Chunks in the store are never requested again, so an interrupted fetch continues where it stopped.
This process never asks a liar again, and asks failing sources less often (`chunk_sources`).
`scheduling` decides which source is asked for which chunk, and `downloading` does it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkClient, LyingProvider
from paris_p2p.network.key_pages import read_pages
from paris_p2p.network.pacing import Pacers, paced, unlimited
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.peer.books.survey import presences
from paris_p2p.peer.transfer.chunk_sources import Reputation, Seed, Source
from paris_p2p.peer.transfer.downloading import Clock, Conversation, Download
from paris_p2p.records.keys import SHARED_LEVELS, providers_key
from paris_p2p.records.manifest import Manifest
from paris_p2p.store.blobs import Blobs, NoManifest

PATIENCE = 30.0
"""Seconds without a single byte from anybody after which a fetch is given up."""

CONVERSATIONS = 24
"""Most sources asked at a time by all fetches together. Each holds a chunk of 1 MiB in memory. Each
fetch holds a few more that are being written."""

OnBytes = Callable[[int, int], None]
"""Called with (bytes in the store, bytes in total) of the content being fetched."""


class Fetcher:
    """Fetches content by id, into one store.

    Parameters
    ----------
    first_wait : seconds between the first two look-ups of providers; later pauses are longer.
    clock : monotonic seconds.
    pacers : the limits of this peer's traffic; None for no limits.
    allow_private_seeds : also use web seeds that are not on the public internet.
    refusals : notes the liars.
    """

    def __init__(
        self,
        swarm: Swarm,
        blobs: Blobs,
        first_wait: float = 0.5,
        clock: Clock = time.monotonic,
        pacers: Pacers | None = None,
        allow_private_seeds: bool = False,
        refusals: Refusals | None = None,
    ) -> None:
        self._swarm = swarm
        self._blobs = blobs
        self._first_wait = first_wait
        self._clock = clock
        self.pacers = pacers or unlimited()
        self._allow_private_seeds = allow_private_seeds
        self._rng = random.Random()
        self._reputation = Reputation(self._rng)
        self._refusals = refusals or Refusals(None, time.time)
        self._places = asyncio.Semaphore(CONVERSATIONS)
        self.seeds: Sequence[Seed] = ()
        """The web servers of the run."""
        self.received: Counter[bytes] = Counter()
        """Verified bytes received, by provider."""

    def seen_through(self, swarm: Swarm, seeds: Sequence[Seed]) -> Fetcher:
        """A fetcher that asks the peers of `swarm` and the web servers `seeds` of a run.

        It shares the reputation of sources, the limits and the store with this one.
        """
        other = copy(self)
        other._swarm, other.seeds = swarm, seeds
        return other

    async def providers(self, content: bytes) -> list[Source]:
        """The peers that announce `content`, the fewest failures first.

        This peer and peers that have lied to it are left out.
        """
        entries = await read_pages(self._swarm, providers_key(content), SHARED_LEVELS)
        found = await asyncio.to_thread(presences, entries)
        sources = [Source(presence.author, presence.addresses) for presence in found]
        honest = [
            source
            for source in sources
            if source.author != self._swarm.author and not self._reputation.is_liar(source.key)
        ]
        self._rng.shuffle(honest)
        return sorted(honest, key=lambda source: self._reputation.strikes(source.key))

    async def fetch(
        self,
        content: bytes,
        on_bytes: OnBytes = lambda have, total: None,
        *,
        most: int,
        patience: float | None = None,
    ) -> Manifest:
        """Fetch all of `content` into the store, verified. Errors as for its two steps."""
        manifest = await self.manifest(content, most=most, patience=patience)
        await self.fetch_rest(manifest, on_bytes, patience)
        return manifest

    async def manifest(
        self, content: bytes, *, most: int, patience: float | None = None
    ) -> Manifest:
        """The manifest of `content`, fetched before its chunks.

        `most` is the most bytes that the content may have: BadContent if it has more. NoManifest if
        the fetched bytes are not a manifest; they are deleted again. NotAvailable if no source has
        sent it for `patience` seconds (None: PATIENCE).
        """
        manifest = await self._manifest(content, patience)
        if manifest.size > most:
            raise BadContent(
                f"{content.hex()[:12]} says it has {manifest.size} bytes, over {most}",
                "Its announcer is wrong or lying",
            )
        return manifest

    async def fetch_rest(
        self,
        manifest: Manifest,
        on_bytes: OnBytes = lambda have, total: None,
        patience: float | None = None,
    ) -> None:
        """Fetch all missing chunks of a content into the store.

        NotAvailable if no source has sent a byte for `patience` seconds (None: PATIENCE). Received
        chunks are kept for the next time. DiskFull if the disk is full.
        """
        missing = await asyncio.to_thread(self._blobs.missing, manifest)
        progress = _Progress(manifest, missing, on_bytes)
        await self._gather(manifest.id, missing, progress.kept, patience)

    async def fetch_chunk(self, content: bytes, patience: float | None = None) -> bytes:
        """One chunk that is announced under its own id: a run record, or a manifest."""
        if not await asyncio.to_thread(self._blobs.chunks.has, content):
            await self._gather(content, [content], lambda chunk: None, patience)
        return await asyncio.to_thread(self._blobs.chunks.get, content)

    def _note_lie(self, source: Source | Seed, error: LyingProvider) -> None:
        author = source.author if isinstance(source, Source) else None
        self._refusals.note(author, source.name, f"{error}; it is never asked again")

    async def _manifest(self, content: bytes, patience: float | None) -> Manifest:
        known = await asyncio.to_thread(self._blobs.manifest, content)
        if known is not None:
            return known
        was_here = await asyncio.to_thread(self._blobs.chunks.has, content)
        encoded = await self.fetch_chunk(content, patience)
        try:
            return await asyncio.to_thread(self._blobs.add_manifest, encoded)
        except NoManifest:
            if not was_here:  # else it is a chunk of other content
                await asyncio.to_thread(self._blobs.chunks.delete, content)
            raise

    async def _gather(
        self,
        content: bytes,
        chunks: Sequence[bytes],
        on_kept: Callable[[bytes], None],
        patience: float | None,
    ) -> None:
        """Fetch `chunks` of a content into the store, and call `on_kept` with each."""

        async def keep(source: bytes, chunk: bytes, data: memoryview) -> None:
            await asyncio.to_thread(self._blobs.chunks.put_verified, chunk, data)
            self.received[source] += len(data)
            on_kept(chunk)

        download = Download(
            chunks,
            lambda: self.providers(content),
            self.seeds,
            self._converse,
            keep,
            self._reputation,
            self._clock,
            self._note_lie,
        )
        limit = PATIENCE if patience is None else patience
        if left := await download.run(limit, self._first_wait):
            raise NotAvailable(
                f"no reachable peer serves all of {content.hex()[:12]} ({left} chunks missing)",
                "received chunks are kept; try again when more peers are online",
            )

    @asynccontextmanager
    async def _converse(
        self, source: Source | Seed, on_piece: Callable[[], None]
    ) -> AsyncIterator[Conversation]:
        """A conversation with a source, once one of CONVERSATIONS places is free."""
        async with self._places, self._begin(source, on_piece) as conversation:
            yield conversation

    def _begin(
        self, source: Source | Seed, on_piece: Callable[[], None]
    ) -> AbstractAsyncContextManager[Conversation]:
        if isinstance(source, Source):
            return self._converse_with_peer(source, on_piece)
        from paris_p2p.peer.transfer.http_seeds import converse_with_seed

        private = self._allow_private_seeds
        return converse_with_seed(source.url, on_piece, self.pacers.download, private)

    @asynccontextmanager
    async def _converse_with_peer(
        self, source: Source, on_piece: Callable[[], None]
    ) -> AsyncIterator[Conversation]:
        stream = await self._swarm.open(source.author, CHUNK_PROTOCOL, source.addresses)
        try:
            yield ChunkClient(paced(stream, self.pacers), on_piece)
        finally:
            await stream.close()


class _Progress:
    """Reports to `on_bytes` how many bytes of a content are in the store, as its chunks arrive."""

    def __init__(self, manifest: Manifest, missing: Iterable[bytes], on_bytes: OnBytes) -> None:
        self._size = manifest.size
        self._lengths: Counter[bytes] = Counter()
        for index, chunk in enumerate(manifest.chunks):
            self._lengths[chunk] += manifest.length(index)
        self._have = self._size - sum(self._lengths[chunk] for chunk in missing)
        self._on_bytes = on_bytes
        self._on_bytes(self._have, self._size)

    def kept(self, chunk: bytes) -> None:
        self._have += self._lengths[chunk]
        self._on_bytes(self._have, self._size)
