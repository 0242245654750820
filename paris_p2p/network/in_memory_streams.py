"""Streams between peers inside one process, for `memory.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from paris_p2p.network.swarm import StreamClosed

PIPE_CAPACITY = 1 << 20
"""Bytes in flight in one direction before the writer waits."""


@dataclass
class End:
    """One peer's side of its streams."""

    author: bytes
    inactivity: float
    """Seconds, as in `swarm.py`."""
    streams: set[MemoryStream] = field(default_factory=set)
    """The open ones."""


class _Pipe:
    """One direction of a stream; bounded, so that a writer waits for a slow reader."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._moved = asyncio.Event()
        self._ended = False

    async def put(self, data: bytes, patience: float) -> None:
        view = memoryview(data)
        while view:
            await self._until(lambda: len(self._data) < PIPE_CAPACITY, patience)
            if self._ended:
                raise StreamClosed("the stream was closed by the other side")
            size = min(PIPE_CAPACITY - len(self._data), len(view))
            self._data += view[:size]
            view = view[size:]
            self._moved.set()

    async def take(self, size: int, patience: float) -> bytes:
        """Up to `size` bytes; empty at the end."""
        await self._until(lambda: bool(self._data), patience)
        data = bytes(self._data[:size])
        del self._data[:size]
        self._moved.set()
        return data

    def end(self) -> None:
        self._ended = True
        self._moved.set()

    async def _until(self, ready: Callable[[], bool], patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                while not (self._ended or ready()):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError as error:
            raise StreamClosed(f"the other side was silent for {patience:g} s") from error


class MemoryStream:
    """One end of a stream between two `MemorySwarm`s."""

    def __init__(self, end: End, author: bytes, inward: _Pipe, outward: _Pipe) -> None:
        self._end = end
        self._author = author
        self._inward = inward
        self._outward = outward
        end.streams.add(self)

    @property
    def author(self) -> bytes:
        return self._author

    async def read_exactly(self, size: int, *, patience: float | None = None) -> bytes:
        limit = self._end.inactivity if patience is None else patience
        data = bytearray()
        while len(data) < size:
            piece = await self._inward.take(size - len(data), limit)
            if not piece:
                raise StreamClosed(f"the stream ended {size - len(data)} bytes early")
            data += piece
        return bytes(data)

    async def read_into(self, target: memoryview, *, patience: float | None = None) -> None:
        target[:] = await self.read_exactly(len(target), patience=patience)

    async def write(self, data: bytes) -> None:
        await self._outward.put(data, self._end.inactivity)

    async def close(self) -> None:
        self.break_off()

    def break_off(self) -> None:
        """End both directions, as a dead connection does."""
        self._end.streams.discard(self)
        self._inward.end()
        self._outward.end()


def stream_pair(near: End, far: End) -> tuple[MemoryStream, MemoryStream]:
    """A stream between two peers, seen from either end."""
    there, back = _Pipe(), _Pipe()
    return (
        MemoryStream(near, far.author, inward=back, outward=there),
        MemoryStream(far, near.author, inward=there, outward=back),
    )
