"""A process that serves one generated file for `bench.transfer`, as chunks and as raw bytes.

`python -m bench.provider FOLDER MEBIBYTES [BOOTSTRAP]` prints one JSON line {"address", "content"}
once it serves, and ends when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from paris_p2p.identity import Identity
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkServer
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.swarm import Stream
from paris_p2p.records.keys import providers_key
from paris_p2p.records.manifest import CHUNK_SIZE
from paris_p2p.records.presence import Presence
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore

RAW_PROTOCOL = "/paris/bench-raw/1"
"""Protocol of the raw stream: the bytes of the file from memory, and nothing else."""

LIFE = 1800.0
"""Seconds for which the file is announced."""


async def serve(folder: Path, size: int, bootstrap: tuple[str, ...]) -> None:
    blobs = store_in(folder)
    data = list(pieces(size))
    content = blobs.add_bytes(b"".join(data), "dataset", "bench").id
    async with swarm_in(folder, bootstrap) as (swarm, identity):

        async def read(author: bytes, chunk: bytes) -> bytes:
            return await asyncio.to_thread(blobs.chunks.get, chunk)

        await swarm.serve(CHUNK_PROTOCOL, ChunkServer(read))
        await swarm.serve(RAW_PROTOCOL, partial(pour, data))
        await swarm.store(
            providers_key(content), presence(swarm, identity, content), time.time() + LIFE
        )
        ready = {"address": swarm.addresses()[0], "content": content.hex()}
        print(json.dumps(ready), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def pour(data: Sequence[bytes], author: bytes, stream: Stream) -> None:
    """The raw stream: the file from memory, as fast as the reader takes it."""
    for piece in data:
        await stream.write(piece)
    await stream.read_exactly(1)


def presence(swarm: HivemindSwarm, identity: Identity, run: bytes) -> bytes:
    return Presence(
        run=run,
        author=identity.author,
        addresses=tuple(swarm.addresses()),
        agent="bench",
        role="peer",
        time=time.time(),
    ).seal(identity)


def store_in(folder: Path) -> Blobs:
    return Blobs(ChunkStore(folder / "store"), folder / "cache")


def pieces(size: int) -> Iterator[bytes]:
    """`size` incompressible bytes, a chunk at a time, the same in every process."""
    source = random.Random(size)
    return (source.randbytes(CHUNK_SIZE) for _ in range(size // CHUNK_SIZE))


@asynccontextmanager
async def swarm_in(
    folder: Path, bootstrap: tuple[str, ...]
) -> AsyncIterator[tuple[HivemindSwarm, Identity]]:
    """A swarm node with a fresh identity, whose key lies in `folder`."""
    identity = Identity.generate()
    identity.save(folder / "identity.key")
    swarm = await HivemindSwarm.start(
        folder / "identity.key", identity, listen="127.0.0.1", bootstrap=bootstrap
    )
    try:
        yield swarm, identity
    finally:
        await swarm.close()


if __name__ == "__main__":
    place, mebibytes, *others = sys.argv[1:]
    asyncio.run(serve(Path(place), int(mebibytes) << 20, tuple(others)))
