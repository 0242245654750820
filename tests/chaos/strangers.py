"""What strangers with throw-away keys do: records that are properly signed, and worthless.

Each attack returns once it is under way. `Enemy` runs it, and ends it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import secrets
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import torch
from safetensors.torch import load, save

from paris_p2p.network.chunk_protocol import READY
from paris_p2p.network.clock import TIME_PROTOCOL
from paris_p2p.network.swarm import Stream
from paris_p2p.records.claim import RENEW
from paris_p2p.records.codec import encode
from paris_p2p.records.head import Head
from paris_p2p.records.keys import heads_key
from paris_p2p.records.manifest import CHUNK_SIZE, Manifest
from tests.chaos.enemy import SLOTS, Enemy
from tests.chaos.stranger import Stranger, stranger_among
from tests.network.hostile import Hostile, found

MOST: Final = 1 << 26
"""Bytes of anything that the small run has."""

FAR_AHEAD: Final = 10**6
"""Steps by which an invented record leads."""

NO_ROOM: Final = 2**48
"""The largest count that a record can hold."""

LIARS: Final = 4
HEADS_A_RECORD: Final = 3
IDLE_CONNECTIONS: Final = 3000
AN_HOUR: Final = 3600.0
A_TRICKLE: Final = 8.0
"""Seconds between two chunks of a tar pit."""

_HEADER = struct.Struct(">32sI")


async def heads_without_room(enemy: Enemy) -> None:
    """Real weights under a head so far ahead that no step can follow it."""
    stranger = await _join(enemy)
    for slot in SLOTS:
        data = await _honest_weights(enemy, stranger, slot)
        content, size = stranger.keep(data, "checkpoint")
        await _publish(stranger, stranger.head(slot, content, size, 2**40, NO_ROOM))


async def overflowing_weights(enemy: Enemy) -> None:
    """Weights that are finite in a file and nowhere else."""
    stranger = await _join(enemy)
    for slot in SLOTS:
        tensors = load(await _honest_weights(enemy, stranger, slot))
        huge = {name: torch.full_like(tensor, 3e38) for name, tensor in tensors.items()}
        content, size = stranger.keep(save(huge), "checkpoint")
        step = await _furthest(stranger, slot) + FAR_AHEAD
        await _publish(stranger, stranger.head(slot, content, size, step, 8 * step))


async def poisoned_resume_states(enemy: Enemy) -> None:
    """A resume state whose average is a thousand times too large, and nothing else is wrong."""
    stranger = await _join(enemy)
    for slot in SLOTS:
        known = await stranger.resumes(slot)
        honest = [resume for resume in known if resume.author in enemy.authors]
        if not honest:
            continue
        best = max(honest, key=lambda resume: resume.step)
        data = await stranger.read(best.manifest, MOST)
        metadata = _metadata(data)
        poisoned = {
            name: tensor * 1e3 if name.startswith("average/") else tensor
            for name, tensor in load(data).items()
        }
        step = best.step + FAR_AHEAD
        metadata |= {"step": str(step), "images": str(8 * step)}
        content, size = stranger.keep(save(poisoned, metadata), "resume")
        await stranger.provide(content)
        await stranger.say_resume(stranger.resume(slot, content, size, step))


async def invented_heads(enemy: Enemy) -> None:
    """Heads of content that nobody has, a dozen a slot, from several keys that then leave."""
    for _ in range(LIARS):
        async with Hostile(enemy.folder) as hostile:
            for address in enemy.victims:
                victim = await hostile.dial(address)
                for slot in SLOTS:
                    heads = [_invented(enemy.run, slot, hostile) for _ in range(HEADS_A_RECORD)]
                    key = heads_key(enemy.run, slot)
                    record = hostile.announce(key, encode(heads), time.time() + 150)
                    await hostile.store(victim, record)


async def resume_states_of_24_gib(enemy: Enemy) -> None:
    """Resume records that claim more than any home has room for."""
    stranger = await _join(enemy)
    for slot in SLOTS:
        content = secrets.token_bytes(32)
        await stranger.provide(content)
        await stranger.say_resume(stranger.resume(slot, content, 24 << 30, FAR_AHEAD))


async def tar_pit(enemy: Enemy) -> None:
    """The furthest head of every slot, served a chunk every few seconds."""
    stranger = await _join(enemy)

    async def trickle(_: bytes, stream: Stream) -> None:
        await stream.write(READY)
        while True:
            (count,) = struct.unpack(">H", await stream.read_exactly(2))
            wanted = await stream.read_exactly(32 * count)
            for start in range(0, len(wanted), 32):
                chunk = wanted[start : start + 32]
                data = await stranger.read_chunk(b"", chunk)
                await asyncio.sleep(A_TRICKLE)
                await stream.write(_HEADER.pack(chunk, len(data or b"")) + (data or b""))

    stranger.answer = trickle
    for slot in SLOTS:
        content, size = _in_small_chunks(stranger, await _honest_weights(enemy, stranger, slot))
        step = await _furthest(stranger, slot) + FAR_AHEAD
        await _publish(stranger, stranger.head(slot, content, size, step, 8 * step))


async def manifest_bombs(enemy: Enemy) -> None:
    """Heads whose manifest is a megabyte of empty maps."""
    stranger = await _join(enemy)
    for slot in SLOTS:
        heads = []
        for number in range(HEADS_A_RECORD):
            bomb = b"\xdd" + struct.pack(">I", 10**6) + b"\x80" * (10**6 - 1) + bytes([number])
            content = stranger.blobs.chunks.put(bomb)
            await stranger.provide(content)
            heads.append(stranger.head(slot, content, 1000, FAR_AHEAD + number, 8 * FAR_AHEAD))
        await stranger.say_heads(slot, *heads)


async def invented_claims(enemy: Enemy) -> None:
    """A claim on every slot that has made more steps than anybody, renewed as claims are."""
    stranger = await _join(enemy)
    since = time.time() - 60

    async def renew() -> None:
        for slot in SLOTS:
            await stranger.say_claim(slot, 2**40, since)

    await renew()
    _go_on(enemy, _again(renew, RENEW))


async def wrong_clocks(enemy: Enemy) -> None:
    """Several identities on one address, known to everybody, that say it is an hour later."""

    async def tell_time(
        _: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(asyncio.IncompleteReadError):
            await reader.readexactly(1)
            writer.write(struct.pack(">d", time.time() + AN_HOUR))
        writer.close()

    async def know_nobody(_: Any) -> Any:
        return found([])

    for _ in range(LIARS):
        liar = await enemy.leaving.enter_async_context(Hostile(enemy.folder))
        await liar.p2p.add_binary_stream_handler(TIME_PROTOCOL, tell_time)
        victims = [await liar.dial(address) for address in enemy.victims]
        await liar.pose_as_node(know_nobody, *victims)


def idle_connections(ports: list[int]) -> Callable[[Enemy], Coroutine[Any, Any, None]]:
    """Thousands of connections to the local APIs that never say a word."""

    async def attack(enemy: Enemy) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for number in range(IDLE_CONNECTIONS):
            idle = socket.socket()
            enemy.leaving.callback(idle.close)
            idle.settimeout(1)
            with suppress(OSError):
                idle.connect(("127.0.0.1", ports[number % len(ports)]))

    return attack


async def _join(enemy: Enemy) -> Stranger:
    return await enemy.leaving.enter_async_context(stranger_among(enemy))


async def _publish(stranger: Stranger, head: Head) -> None:
    await stranger.provide(head.manifest)
    await stranger.say_heads(head.expert, head)


async def _honest_weights(enemy: Enemy, stranger: Stranger, slot: int) -> bytes:
    """The weights of a head that one of the victims published."""
    theirs = [head for head in await stranger.heads(slot) if head.author in enemy.authors]
    newest = max(theirs, key=lambda head: head.step)
    return await stranger.read(newest.manifest, MOST)


async def _furthest(stranger: Stranger, slot: int) -> int:
    return max(head.step for head in await stranger.heads(slot))


def _in_small_chunks(stranger: Stranger, data: bytes) -> tuple[bytes, int]:
    """These bytes as a content of more chunks than it needs; (its id, its size)."""
    small = CHUNK_SIZE >> 4
    pieces = [data[start : start + small] for start in range(0, len(data), small)]
    chunks = tuple(stranger.blobs.chunks.put(piece) for piece in pieces)
    manifest = Manifest(len(data), small, chunks, "checkpoint", "a.safetensors")
    stranger.blobs.add_manifest(manifest.encode())
    return manifest.id, len(data)


def _invented(run: bytes, slot: int, hostile: Hostile) -> bytes:
    return Head(
        run=run,
        expert=slot,
        author=hostile.identity.author,
        step=FAR_AHEAD + secrets.randbelow(1000),
        images=8 * FAR_AHEAD,
        manifest=secrets.token_bytes(32),
        size=100_000,
        train_loss=0.01,
        held_out_loss=0.01,
        parent=None,
        created=time.time(),
    ).seal(hostile.identity)


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata in the header of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return dict(header["__metadata__"])


async def _again(action: Callable[[], Coroutine[Any, Any, None]], period: float) -> None:
    while True:
        await asyncio.sleep(period)
        with suppress(Exception):
            await action()


def _go_on(enemy: Enemy, work: Coroutine[Any, Any, None]) -> None:
    """Let `work` go on until the attack ends."""
    task = asyncio.create_task(work)
    enemy.leaving.callback(task.cancel)
