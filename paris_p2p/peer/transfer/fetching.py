"""Content by its id from whoever provides it, verified, into one store.

Chunks already in the store are never asked for again, so an interrupted fetch goes on where it
stopped. Who lied is not asked again by this process; who failed is asked less (`chunk_sources`).
Which chunk is asked of whom is decided in `scheduling`, and done in `downloading`.
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
"""Most sources asked at a time by all fetches together. Each holds a chunk of 1 MiB in memory, and
each fetch a few more that are being written."""

OnBytes = Callable[[int, int], None]
"""Called with (bytes in the store, bytes in total) of the content being fetched."""


class Fetcher:
    """Fetches content by id, into one store.

    Parameters
    ----------
    first_wait : seconds after which providers are looked up a second time; then ever less often.
    clock : seconds that never go back.
    pacers : the limits of this peer's traffic; None: none.
    allow_private_seeds : use web seeds of the run that are not on the public internet, too.
    refusals : where liars are noted.
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
        """The same, asking those whom `swarm` shows, and web servers of a run.

        What one learns of its sources the other knows, and both have the same limits.
        """
        other = copy(self)
        other._swarm, other.seeds = swarm, seeds
        return other

    async def providers(self, content: bytes) -> list[Source]:
        """Peers that announce `content`, those that never failed first.

        This peer is left out, and so are those that have lied to it.
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
        """Have all of `content` in the store, verified; errors as for its two steps."""
        manifest = await self.manifest(content, most=most, patience=patience)
        await self.fetch_rest(manifest, on_bytes, patience)
        return manifest

    async def manifest(
        self, content: bytes, *, most: int, patience: float | None = None
    ) -> Manifest:
        """What `content` is made of, before any of it is fetched.

        `most` is the size in bytes that such content can have: BadContent for a longer one.
        NoManifest when there is no such content, with what was fetched for it deleted again;
        NotAvailable when nobody has given it for `patience` seconds (default: PATIENCE).
        """
        manifest = await self._manifest(content, patience)
        if manifest.size > most:
            raise BadContent(
                f"{content.hex()[:12]} says it has {manifest.size} bytes, over {most}",
                "Whoever announced it is wrong or lying",
            )
        return manifest

    async def fetch_rest(
        self,
        manifest: Manifest,
        on_bytes: OnBytes = lambda have, total: None,
        patience: float | None = None,
    ) -> None:
        """Have all chunks of a content in the store.

        NotAvailable when nobody has given any of it for `patience` seconds (default: PATIENCE),
        with what has come kept for the next time; DiskFull when the disk is full.
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
            if not was_here:  # else it is a piece of something else
                await asyncio.to_thread(self._blobs.chunks.delete, content)
            raise

    async def _gather(
        self,
        content: bytes,
        chunks: Sequence[bytes],
        on_kept: Callable[[bytes], None],
        patience: float | None,
    ) -> None:
        """Have `chunks` of a content in the store; `on_kept` is told of each."""

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
                "what has arrived is kept; try again when more peers are online",
            )

    @asynccontextmanager
    async def _converse(
        self, source: Source | Seed, on_piece: Callable[[], None]
    ) -> AsyncIterator[Conversation]:
        """A conversation with a source, once there is a place for it."""
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
    """Tells the listener how many bytes of a file are in the store, as its chunks come in."""

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
