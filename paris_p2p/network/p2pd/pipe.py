"""A local socket, read and written with as few copies and wake-ups as asyncio allows.

`asyncio.StreamReader` copies every byte three times and wakes its reader for every 64 KiB. Here the
kernel writes long reads directly into the reader's buffer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from paris_p2p.network.swarm import StreamClosed

SPILL = 1 << 16
"""Bytes buffered ahead of a read. Shorter reads go through this buffer."""

PIECE = 1 << 18
"""Bytes passed to the socket at a time: the writer's patience counts per piece."""


class SocketPipe(asyncio.BufferedProtocol):
    """Both directions of a connected socket. One reader and one writer at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over an open pair of asyncio's streams, with the bytes already read."""
        self._writer = writer  # closes the socket when it is forgotten
        transport: Any = writer.transport
        self._transport = transport
        self._transport.pause_reading()
        already_read = bytes(reader._buffer)  # type: ignore[attr-defined]
        self._loop = asyncio.get_running_loop()
        self._spill = bytearray(max(SPILL, len(already_read)))
        self._spilled = memoryview(self._spill)[: len(already_read)]
        self._spilled[:] = already_read
        self._wanted: memoryview | None = None
        self._direct = False
        self._arrival: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._moved = self._loop.time()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = self._lost = False
        self._transport.set_protocol(self)
        self._go_on_reading()

    async def read_into(self, target: memoryview, patience: float) -> None:
        """Fill `target`. StreamClosed at the end, or after `patience` seconds without a byte."""
        self._wanted = self._take_spilled(target)
        self._go_on_reading()
        try:
            while self._wanted:
                if self._ended:
                    raise StreamClosed(f"the stream ended {len(self._wanted)} bytes early")
                await self._next_arrival(patience)
        finally:
            self._wanted = None

    async def write(self, data: bytes | memoryview, patience: float) -> None:
        """Send `data`. StreamClosed when nothing moves for `patience` seconds."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            if self._lost or self._transport.is_closing():
                raise StreamClosed("the stream is closed")
            self._transport.write(view[start : start + PIECE])
            if not self._writable.is_set():
                await self._until_writable(patience)

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()
        self._end()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the kernel writes the next bytes."""
        self._direct = self._wanted is not None and len(self._wanted) >= SPILL
        if self._direct and self._wanted is not None:
            return self._wanted
        return memoryview(self._spill)[len(self._spilled) :]

    def buffer_updated(self, nbytes: int) -> None:
        """The kernel has written so many bytes there."""
        self._moved = self._loop.time()
        if self._direct and self._wanted is not None:
            self._wanted = self._wanted[nbytes:]
        else:
            self._spilled = memoryview(self._spill)[: len(self._spilled) + nbytes]
            if self._wanted is not None:
                self._wanted = self._take_spilled(self._wanted)
            if len(self._spilled) == len(self._spill):
                self._transport.pause_reading()
        if self._wanted is not None and not self._wanted:
            self._wake()

    def eof_received(self) -> bool:
        """The other side will send no more; we may still write."""
        self._end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._lost = True
        self._writable.set()
        self._end()

    def pause_writing(self) -> None:
        """The socket takes no more bytes for now."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._writable.set()

    def _go_on_reading(self) -> None:
        if len(self._spilled) < len(self._spill):
            self._transport.resume_reading()

    def _take_spilled(self, target: memoryview) -> memoryview:
        """Move spilled bytes to `target`; returns the part still to fill."""
        taken = min(len(target), len(self._spilled))
        target[:taken] = self._spilled[:taken]
        rest = len(self._spilled) - taken
        if taken and rest:
            self._spill[:rest] = bytes(self._spilled[taken:])
        self._spilled = memoryview(self._spill)[:rest]
        return target[taken:]

    async def _next_arrival(self, patience: float) -> None:
        """Wait for all wanted bytes, or the end. StreamClosed when nothing moves."""
        self._arrival = self._loop.create_future()
        self._moved = self._loop.time()
        self._watch(patience, patience)
        try:
            await self._arrival
        except TimeoutError as error:
            raise StreamClosed(f"the other side was silent for {patience:g} s") from error
        finally:
            self._arrival = None
            if self._timer is not None:
                self._timer.cancel()

    def _watch(self, still: float, patience: float) -> None:
        """Check in `still` seconds whether anything has moved for `patience` seconds."""
        self._timer = self._loop.call_later(still, self._look, patience)

    def _look(self, patience: float) -> None:
        if self._arrival is None or self._arrival.done():
            return
        still = patience - (self._loop.time() - self._moved)
        if still > 0:
            self._watch(still, patience)
        else:
            self._arrival.set_exception(TimeoutError())

    async def _until_writable(self, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                await self._writable.wait()
        except TimeoutError as error:
            raise StreamClosed(f"the other side was silent for {patience:g} s") from error
        if self._lost:
            raise StreamClosed("the connection broke")

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
