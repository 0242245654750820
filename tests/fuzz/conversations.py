"""Attacks on the chunk protocol: a client that meets a liar, a server that meets a vandal."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkClient, ChunkServer
from paris_p2p.network.clock import TIME_PROTOCOL, ask_offset, tell_time
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.swarm import Stream, StreamClosed
from paris_p2p.records.manifest import CHUNK_SIZE, content_id

from .mutate import Mutator
from .target import Target, on_loop

CHUNKS = {content_id(data): data for data in (bytes([n]) * (n * 700) for n in range(1, 12))}
IDS = tuple(CHUNKS)
MISSING = 0xFFFFFFFF
ATTACK = "/paris/attack/1"
PATIENCE = 0.01
"""Seconds of silence after which the side under attack gives up: the attacker never waits."""


@contextmanager
def targets(loop: asyncio.AbstractEventLoop) -> Iterator[list[Target]]:
    world = loop.run_until_complete(World.make())
    yield [
        Target("chunk client", 25, on_loop(loop, world.lie)),
        Target("chunk server", 15, on_loop(loop, world.vandalise)),
        Target("time protocol", 10, on_loop(loop, world.tell_nonsense)),
    ]
    loop.run_until_complete(world.end())


class World:
    """An honest peer and an attacker on the memory network."""

    def __init__(self, honest: MemorySwarm, attacker: MemorySwarm) -> None:
        self.honest, self.attacker = honest, attacker
        self.script: list[bytes] = []
        self.given: list[bytes] = []

    @classmethod
    async def make(cls) -> World:
        network = MemoryNetwork()
        honest = network.join(bytes([1]) * 32, inactivity=PATIENCE)
        world = cls(honest, network.join(bytes([2]) * 32, inactivity=PATIENCE))
        await world.attacker.connect(honest.addresses()[0])
        await honest.serve(CHUNK_PROTOCOL, ChunkServer(world._read))
        await honest.serve(TIME_PROTOCOL, tell_time)
        await world.attacker.serve(ATTACK, world._recite)
        return world

    async def end(self) -> None:
        await self.attacker.close()
        await self.honest.close()

    async def lie(self, mutator: Mutator) -> None:
        """Whatever a provider says, what the client gets are the chunks it asked for."""
        wanted = mutator.rng.sample(IDS, mutator.rng.randint(1, 5))
        self.script = _answers(mutator, wanted)
        stream = await self.honest.open(self.attacker.author, ATTACK)
        client = ChunkClient(stream)
        try:
            await client.request(wanted)
            for chunk_id in wanted:
                named, data = await client.receive()
                assert named == chunk_id and (data is None or data == CHUNKS[chunk_id])
        except (BadContent, Unreachable):
            return
        finally:
            await stream.close()

    async def vandalise(self, mutator: Mutator) -> None:
        """Whatever a client says, the server gives only what it has, and ends."""
        asked = [mutator.rng.choice(IDS) for _ in range(mutator.rng.randint(1, 6))]
        request = struct.pack(">H", len(asked)) + b"".join(asked)
        data = mutator.rng.choice((request, mutator.bent(request), mutator.garbage()))
        stream = await self.attacker.open(self.honest.author, CHUNK_PROTOCOL)
        with suppress(StreamClosed):
            await stream.write(data * mutator.rng.randint(1, 3))
            while len(await stream.read_exactly(mutator.rng.randint(1, 4000))):
                if mutator.rng.random() < 0.1:
                    break
        await stream.close()
        await self._settled()

    async def tell_nonsense(self, mutator: Mutator) -> None:
        """A clock that shows anything at all."""
        self.script = [mutator.rng.choice((mutator.garbage(20), struct.pack(">d", 1e308)))]
        stream = await self.honest.open(self.attacker.author, ATTACK)
        with suppress(BadContent, Unreachable):
            assert abs(await ask_offset(stream)) >= 0
        await stream.close()
        await self._settled()

    async def _recite(self, author: bytes, stream: Stream) -> None:
        for line in self.script:
            await stream.write(line)

    async def _read(self, author: bytes, chunk: bytes) -> bytes | None:
        return CHUNKS.get(chunk)

    async def _settled(self) -> None:
        """Every handler has ended: no client can make one stay."""
        await asyncio.gather(*self.honest._serving, *self.attacker._serving)


def _answers(mutator: Mutator, wanted: list[bytes]) -> list[bytes]:
    greeting = mutator.rng.choice((b"\0",) * 8 + (b"\1", b"\2", b""))
    lines = [_answer(mutator, chunk_id) for chunk_id in wanted]
    script = b"".join((greeting, *lines))
    return [mutator.bent(script) if mutator.rng.random() < 0.4 else script]


def _answer(mutator: Mutator, chunk_id: bytes) -> bytes:
    data = CHUNKS[chunk_id]
    lengths = (MISSING, MISSING - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 0, len(data) - 1)
    match mutator.rng.randrange(6):
        case 0:
            return struct.pack(">32sI", chunk_id, mutator.rng.choice(lengths)) + data
        case 1:
            return struct.pack(">32sI", mutator.rng.choice(IDS), len(data)) + data
        case 2:
            return struct.pack(">32sI", chunk_id, MISSING)
        case _:
            return struct.pack(">32sI", chunk_id, len(data)) + data
