"""Peers in one process for tests: a made-up run of two clusters on a memory network."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from paris_p2p.config import PeerConfig
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, serve_chunks
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.swarm import Handler, Stream
from paris_p2p.peer import joining, serving
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.peer.life import running_node
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.transfer.fetching import Fetcher
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import CHUNK_SIZE, Manifest
from paris_p2p.records.run import (
    Artefact,
    ExpertSpec,
    RouterSpec,
    RunManifest,
    ShardRef,
    TrainingSpec,
    run_id,
)
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore

CREATOR = Identity(bytes(range(32)))
SHARD_SIZES = (3 * CHUNK_SIZE + 17, 1000)
"""Two clusters: one shard of several chunks with a ragged end, one of a single short chunk."""


def content_of(index: int) -> bytes:
    """The bytes of shard `index`, the same in every test."""
    return random.Random(index).randbytes(SHARD_SIZES[index])


def manifest_of(index: int) -> Manifest:
    data = content_of(index)
    pieces = [data[start : start + CHUNK_SIZE] for start in range(0, len(data), CHUNK_SIZE)]
    from paris_p2p.records.manifest import content_id

    chunks = tuple(content_id(piece) for piece in pieces)
    return Manifest(len(data), CHUNK_SIZE, chunks, "shard", f"expert-{index}.safetensors")


def make_run() -> bytes:
    """A sealed run whose encoders live on a hub and whose shards are `content_of`."""
    hub = Artefact("hub", "example/encoder")
    return RunManifest(
        name="test-run",
        created=1.0,
        author=CREATOR.author,
        clusters=2,
        expert=ExpertSpec(hidden=8, depth=1, heads=1, patch=1, caption_width=8),
        router=RouterSpec(hidden=8, depth=1, heads=1, patch=1),
        recipe=TrainingSpec(
            learning_rate=1e-3,
            batch=2,
            ema=0.9,
            caption_dropout=0.1,
            snapshot_every=10,
            publish_every=10,
            warmup=0,
            grad_clip=1.0,
        ),
        latent_shape=(4, 2, 2),
        autoencoder=hub,
        text_encoder=hub,
        image_encoder=hub,
        text_context=4,
        text_width=8,
        shards=tuple(ShardRef(manifest_of(i).id, 10, 2, ("word",)) for i in range(2)),
        trusted_authors=(),
    ).seal(CREATOR)


class Clock:
    """Unix time that passes as the running loop's does, and as much more as a test adds."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._start = time.time() - self._time()
        self.ahead = 0.0

    def __call__(self) -> float:
        return self._start + self._time() + self.ahead


@dataclass
class PeerWorld:
    """Some peers of one run that all know each other."""

    folder: Path
    network: MemoryNetwork = field(default_factory=lambda: MemoryNetwork(Clock()))
    sealed: bytes = field(default_factory=make_run)
    peers: list[Membership] = field(default_factory=list)

    async def join(self, *, serve: Handler | None = None, host: str = "127.0.0.1") -> Membership:
        """One more peer, at `host`; `serve` replaces its honest chunk service."""
        identity = Identity.generate()
        swarm = self.network.join(identity.author, host=host)
        if self.peers:
            await swarm.connect(self.peers[0].swarm.addresses()[0])
        node = self._build(identity, swarm)
        peer = await self.take_part(node, self.sealed)
        self.peers.append(peer)
        await (serving.serve(node) if serve is None else swarm.serve(CHUNK_PROTOCOL, serve))
        return peer

    async def take_part(self, node: Node[Membership], sealed: bytes) -> Membership:
        """Have a node join a run, whose manifest it is given.

        Every record counts there that was not refuted: tests make up dates and steps.
        """
        node.blobs.chunks.put(sealed)
        peer = await joining.join(node, run_id(sealed))
        peer.heads._counts = peer.resumes._counts = peer.counts
        return peer

    def living(
        self,
        home: Home,
        identity: Identity,
        swarm: MemorySwarm,
        config: PeerConfig,
        replicate: bool = False,
    ) -> AbstractAsyncContextManager[Node[Membership]]:
        """The life of a node as its command has it, by the clock of this world."""
        clock = self.network.clock
        return running_node(
            home, identity, swarm, config, None, seed=False, replicate=replicate, clock=clock
        )

    def _build(self, identity: Identity, swarm: MemorySwarm) -> Node[Membership]:
        home = Home(self.folder / f"home-{len(self.peers)}")
        home.create()
        blobs = Blobs(ChunkStore(home.store_dir), home.cache_dir)
        refusals = Refusals(home.refusals_file, self.network.clock)
        return Node(
            home=home,
            identity=identity,
            swarm=swarm,
            blobs=blobs,
            fetcher=Fetcher(swarm, blobs, clock=asyncio.get_running_loop().time, refusals=refusals),
            clock=self.network.clock,
            rng=random.Random(len(self.peers)),
            refusals=refusals,
        )


async def has_nothing(author: bytes, stream: Stream) -> None:
    """A chunk service that has none of what it is asked for."""

    async def read(chunk: bytes) -> None:
        return None

    await serve_chunks(stream, read)


async def hold(peer: Membership, index: int) -> bytes:
    """Give `peer` shard `index` and have it announced; returns the content id."""
    name = f"expert-{index}.safetensors"
    content = peer.node.blobs.add_bytes(content_of(index), "shard", name).id
    await peer.announcer.content(content)
    return content


def head_of(
    peer: Membership, expert: int, step: int, manifest: bytes = bytes(32), created: float = 1000.0
) -> Head:
    return Head(
        run=peer.run_id,
        expert=expert,
        author=peer.node.identity.author,
        step=step,
        images=step * 2,
        manifest=manifest,
        size=1,
        train_loss=1.0,
        held_out_loss=1.0,
        parent=None,
        created=created,
    )


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], patience: float = 600
) -> None:
    """Wait until `condition` holds; fails after `patience` seconds of the running loop.

    The longer it has waited, the longer it waits before it looks again.
    """
    now = asyncio.get_running_loop().time
    began = now()
    while (waited := now() - began) < patience:
        verdict = condition()
        if await verdict if inspect.isawaitable(verdict) else verdict:
            return
        await asyncio.sleep(max(0.02, waited / 50))
    raise AssertionError("the condition never came true")


async def meanwhile(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds while a thread works, in which time stands still."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.to_thread(time.sleep, 0.01)
    raise AssertionError("the condition never came true")
