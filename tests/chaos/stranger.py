"""A peer with a throw-away key that says whatever it likes, properly signed, and serves content."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkServer
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.swarm import Handler, Stream
from paris_p2p.peer.books.record_book import RecordBook
from paris_p2p.peer.books.survey import read_records
from paris_p2p.peer.transfer.fetching import Fetcher
from paris_p2p.records.claim import LEASE, Claim
from paris_p2p.records.codec import encode
from paris_p2p.records.head import Head
from paris_p2p.records.keys import claims_key, heads_key, providers_key, resume_key
from paris_p2p.records.presence import Presence
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore

LIFE = 150.0
"""Seconds that what a stranger says stays."""


class Setting(Protocol):
    """Where a stranger shows up."""

    folder: Path
    victims: Sequence[str]
    run: bytes


@dataclass
class Stranger:
    """One throw-away key with a swarm and a store of its own."""

    identity: Identity
    swarm: HivemindSwarm
    blobs: Blobs
    fetcher: Fetcher
    run_id: bytes
    run: RunManifest
    heard: Mapping[type[Head] | type[Resume], RecordBook]  # type: ignore[type-arg]
    answer: Handler = field(init=False)
    """How it serves chunks: soundly, unless an attack puts something else here."""

    def __post_init__(self) -> None:
        self.answer = ChunkServer(self.read_chunk)

    async def serve(self, author: bytes, stream: Stream) -> None:
        await self.answer(author, stream)

    async def heads(self, slot: int) -> list[Head]:
        """What is announced for a slot."""
        book = self.heard[Head]
        await read_records(self.swarm, book, heads_key(self.run_id, slot), slot)
        return list(book.known(slot))

    async def resumes(self, slot: int) -> list[Resume]:
        book = self.heard[Resume]
        await read_records(self.swarm, book, resume_key(self.run_id, slot), slot)
        return list(book.known(slot))

    async def read(self, content: bytes, most: int) -> bytes:
        """The bytes of a content that others serve."""
        await self.fetcher.fetch(content, most=most)
        return self.blobs.read(content)

    def keep(self, data: bytes, kind: str) -> tuple[bytes, int]:
        """Have these bytes to serve; (content id, size)."""
        manifest = self.blobs.add_bytes(data, kind, "a.safetensors")
        return manifest.id, manifest.size

    async def provide(self, content: bytes) -> None:
        """Say that this content is served here."""
        here = Presence(
            run=self.run_id,
            author=self.identity.author,
            addresses=tuple(self.swarm.addresses()),
            agent="paris-p2p/0",
            role="peer",
            time=time.time(),
        )
        await self.swarm.store(providers_key(content), here.seal(self.identity), time.time() + LIFE)

    async def say_heads(self, slot: int, *heads: Head) -> None:
        sealed = encode([head.seal(self.identity) for head in heads])
        await self.swarm.store(heads_key(self.run_id, slot), sealed, time.time() + LIFE)

    async def say_resume(self, resume: Resume) -> None:
        key = resume_key(self.run_id, resume.expert)
        sealed = encode([resume.seal(self.identity)])
        await self.swarm.store(key, sealed, time.time() + LIFE)

    async def say_claim(self, slot: int, step: int, since: float) -> None:
        """A claim that has made `step` steps by now."""
        now = time.time()
        claim = Claim(
            run=self.run_id,
            expert=slot,
            author=self.identity.author,
            term=1,
            since=since,
            start_step=0,
            step=step,
            progressed=now,
            expires=now + LEASE,
        )
        key = claims_key(self.run_id, slot)
        await self.swarm.store(key, claim.seal(self.identity), claim.expires)

    def head(self, slot: int, content: bytes, size: int, step: int, images: int) -> Head:
        """A head that promises the best there is."""
        return Head(
            run=self.run_id,
            expert=slot,
            author=self.identity.author,
            step=step,
            images=images,
            manifest=content,
            size=size,
            train_loss=0.01,
            held_out_loss=0.01,
            parent=None,
            created=time.time(),
        )

    def resume(self, slot: int, content: bytes, size: int, step: int) -> Resume:
        return Resume(
            run=self.run_id,
            expert=slot,
            author=self.identity.author,
            step=step,
            images=8 * step,
            manifest=content,
            size=size,
            created=time.time(),
        )

    async def read_chunk(self, author: bytes, chunk: bytes) -> bytes | None:
        """What is asked for, where it is here."""
        try:
            return self.blobs.chunks.get(chunk)
        except BadContent:
            return None


@asynccontextmanager
async def stranger_among(setting: Setting) -> AsyncIterator[Stranger]:
    """A stranger that has joined, and serves what it keeps."""
    identity = Identity.generate()
    home = setting.folder / identity.peer_id
    home.mkdir()
    key = home / "key"
    identity.save(key)
    swarm = await HivemindSwarm.start(
        key, identity, listen="127.0.0.1", bootstrap=setting.victims, require_contact=True
    )
    try:
        blobs = Blobs(ChunkStore(home / "store"), home / "cache")
        fetcher = Fetcher(swarm, blobs)
        run = RunManifest.unseal(await fetcher.fetch_chunk(setting.run))
        stranger = Stranger(
            identity,
            swarm,
            blobs,
            fetcher,
            setting.run,
            run,
            {
                kind: RecordBook(kind, home / kind.KIND, setting.run, run.slots())
                for kind in (Head, Resume)
            },
        )
        await swarm.serve(CHUNK_PROTOCOL, stranger.serve)
        yield stranger
    finally:
        await swarm.close()
