"""The chunk protocol: many content-addressed chunks over one stream.

Goals
    Many chunks per stream, pipelined so that the line never idles.
    A chunk is checked against its hash before the caller sees it.
    A length is checked before memory is allocated for it.
    A dead, frozen, lying or busy remote is recognised as such and left at once.
    Resumable: received chunks count, and another stream can supply the rest.

Non-goals
    Finding providers, listing what a peer has, parts of chunks, uploads, priorities, compression.
    Secrecy and authentication: the stream underneath has both.

Frames (integers are unsigned and big-endian)
    stream      /paris/chunks/1
    greeting    server, once:     u8: 0 "ask away", 1 "busy, ask elsewhere" (the stream then ends)
    request     client, any time: u16 count (1 to 256), count x 32-byte ids
    answer      server, per id and in the order asked:
                                  32-byte id, u32 length, that many bytes (at most 1 MiB)
                                  length 0xFFFFFFFF: I do not have it, and no bytes
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial

from paris_p2p.errors import BadContent, ParisError, Unreachable
from paris_p2p.network.pacing import Pacers, paced, unlimited
from paris_p2p.network.stream_permits import NetworkOf, StreamPermits, nowhere
from paris_p2p.network.swarm import PROTOCOL_PREFIX, Stream, StreamClosed
from paris_p2p.records.manifest import CHUNK_SIZE, content_id

CHUNK_PROTOCOL = PROTOCOL_PREFIX + "chunks/1"

IDS_PER_REQUEST = 256
"""Most ids in one request frame."""

MAX_PENDING = 4096
"""Most chunks a client may have asked for and not yet received."""

IDLE = 60.0
"""Seconds a server keeps a stream open for the next request."""

PIECE = 1 << 18
PIECE_PATIENCE = 60.0
"""Bytes of a chunk that must arrive within so many seconds. A slower provider counts as frozen."""

READ_AHEAD = 2
"""Chunks a server reads from disk while it sends another."""

STREAMS = 64
STREAMS_PER_PEER = 8
"""Streams a `ChunkServer` serves at a time, in all and to one peer. `stream_permits` decides which
others are told "busy"."""

READY, BUSY = b"\0", b"\1"

_ID_SIZE = 32
_COUNT = struct.Struct(">H")
_HEADER = struct.Struct(f">{_ID_SIZE}sI")
_MISSING = 0xFFFFFFFF

Read = Callable[[bytes], Awaitable[bytes | None]]
"""Looks up a chunk by id; None when it is missing. Must not block the event loop."""

ReadFor = Callable[[bytes, bytes], Awaitable[bytes | None]]
"""Likewise, for (author of the client, chunk id)."""


class LyingProvider(BadContent):
    """A provider sent something that is not the chunk it was asked for."""


class ProviderBusy(Unreachable):
    """A provider has no room for another stream now. Ask elsewhere, or later."""


class ChunkClient:
    """Asks one provider for chunks. The caller opens and closes the stream.

    `on_piece` is called whenever a piece of a chunk has arrived.

    Any exception ends the exchange. Ask for the missing chunks on another stream; after
    `LyingProvider`, ask another provider.
    """

    def __init__(self, stream: Stream, on_piece: Callable[[], None] = lambda: None) -> None:
        self._stream = stream
        self._on_piece = on_piece
        self._pending: deque[bytes] = deque()
        self._greeted = False

    @property
    def pending(self) -> int:
        """How many chunks have been asked for and not yet received."""
        return len(self._pending)

    async def request(self, ids: Sequence[bytes]) -> None:
        """Ask for chunks; they will be received in this order.

        Requests before everything has arrived keep the line busy. Raises `StreamClosed`.
        """
        if self.pending + len(ids) > MAX_PENDING:
            raise ValueError(f"at most {MAX_PENDING} chunks may be pending")
        if any(len(chunk_id) != _ID_SIZE for chunk_id in ids):
            raise ValueError(f"a chunk id has {_ID_SIZE} bytes")
        for start in range(0, len(ids), IDS_PER_REQUEST):
            frame = ids[start : start + IDS_PER_REQUEST]
            self._pending.extend(frame)
            await self._stream.write(_COUNT.pack(len(frame)) + b"".join(frame))

    async def receive(self) -> tuple[bytes, bytes | None]:
        """The id and verified bytes of the next chunk; no bytes (None) if the provider lacks it.

        Raises as `receive_into` does.
        """
        buffer = bytearray(CHUNK_SIZE)
        chunk, size = await self.receive_into(memoryview(buffer))
        return chunk, None if size is None else bytes(buffer[:size])

    async def receive_into(self, buffer: memoryview) -> tuple[bytes, int | None]:
        """Write the next chunk, verified, to `buffer`; return its id and size.

        The size is None when the provider lacks the chunk. `buffer` has CHUNK_SIZE bytes.

        Raises `LyingProvider`, `ProviderBusy`, or `StreamClosed` for a provider that left, fell
        silent or is too slow.
        """
        await self._hear_greeting()
        wanted = self._pending[0]
        named, length = _HEADER.unpack(await self._stream.read_exactly(_HEADER.size))
        if named != wanted:
            raise LyingProvider("a provider answered for a chunk it was not asked for")
        if length == _MISSING:
            return self._pending.popleft(), None
        if length > CHUNK_SIZE:
            raise LyingProvider(f"a provider announced a chunk of {length} bytes")
        data = buffer[:length]
        await self._fill(data)
        if content_id(data) != wanted:
            raise LyingProvider("a provider sent a chunk that does not match its name")
        return self._pending.popleft(), length

    async def _fill(self, data: memoryview) -> None:
        for start in range(0, len(data), PIECE):
            try:
                async with asyncio.timeout(PIECE_PATIENCE):
                    await self._stream.read_into(data[start : start + PIECE])
            except TimeoutError as error:
                raise StreamClosed("a provider is too slow") from error
            self._on_piece()

    async def _hear_greeting(self) -> None:
        if self._greeted:
            return
        greeting = await self._stream.read_exactly(len(READY))
        if greeting == BUSY:
            raise ProviderBusy("a provider is busy")
        if greeting != READY:
            raise LyingProvider("a provider does not speak the chunk protocol")
        self._greeted = True


class ChunkServer:
    """Serves chunks, on a limited number of streams. Pass it to `Swarm.serve`.

    `read` gets (author of the client, chunk id), so that it can count uploads per client. An upload
    limit is shared equally by peers, however many streams they open. No more peers are served than
    can each have enough of it. `network_of` and `clock` as in `StreamPermits`.
    """

    def __init__(
        self,
        read: ReadFor,
        *,
        pacers: Pacers | None = None,
        streams: int = STREAMS,
        streams_per_peer: int = STREAMS_PER_PEER,
        network_of: NetworkOf = nowhere,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._pacers = pacers or unlimited()
        most_authors = self._pacers.upload.most_peers
        self._permits = StreamPermits(
            streams, streams_per_peer, network_of, most_authors=most_authors, clock=clock
        )

    async def __call__(self, author: bytes, stream: Stream) -> None:
        permit = await self._permits.take(stream)
        if permit is None:
            await stream.write(BUSY)
            return
        rest = partial(self._permits.rest, permit)
        try:
            await serve_chunks(paced(stream, self._pacers), partial(self._read, author), rest)
        finally:
            self._permits.leave(permit)


async def serve_chunks(
    stream: Stream, read: Read, rest: Callable[[bool], None] = lambda _: None
) -> None:
    """Answer one client until it leaves, falls silent, or sends an invalid request.

    `rest` is called with True when no request is pending and with False when one arrives.
    """
    try:
        await stream.write(READY)
        while True:
            rest(True)
            ids = await _read_request(stream)
            rest(False)
            if not ids:
                return
            async with aclosing(_read_ahead(ids, read)) as chunks:
                async for chunk_id, data in chunks:
                    await _answer(stream, chunk_id, data)
    except StreamClosed:
        return  # clients have no other way to end the exchange


async def _read_request(stream: Stream) -> list[bytes]:
    """The ids of the next request; empty when its count is out of bounds."""
    (count,) = _COUNT.unpack(await stream.read_exactly(_COUNT.size, patience=IDLE))
    if count > IDS_PER_REQUEST:
        return []
    joined = await stream.read_exactly(count * _ID_SIZE)
    return [joined[start : start + _ID_SIZE] for start in range(0, len(joined), _ID_SIZE)]


async def _answer(stream: Stream, chunk_id: bytes, data: bytes | None) -> None:
    if data is None:
        await stream.write(_HEADER.pack(chunk_id, _MISSING))
        return
    await stream.write(_HEADER.pack(chunk_id, len(data)))
    await stream.write(data)


async def _read_ahead(
    ids: Sequence[bytes], read: Read
) -> AsyncGenerator[tuple[bytes, bytes | None], None]:
    """Each id with its chunk, in order; the next ones are read meanwhile."""
    reads: deque[asyncio.Task[bytes | None]] = deque()
    try:
        for number, chunk_id in enumerate(ids):
            while len(reads) <= READ_AHEAD and number + len(reads) < len(ids):
                reads.append(asyncio.create_task(_readable(ids[number + len(reads)], read)))
            yield chunk_id, await reads[0]
            reads.popleft()
    finally:
        for pending in reads:
            pending.cancel()


async def _readable(chunk_id: bytes, read: Read) -> bytes | None:
    """The chunk, or None when it is missing or damaged."""
    try:
        return await read(chunk_id)
    except ParisError:
        return None
