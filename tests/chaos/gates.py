"""A TCP proxy before every peer, so that a swarm can be parted without root.

Every peer listens on a loopback address of its own (127.0.7.N) and tells others its gate's port.
libp2p dials from the address it listens on, so a gate sees who knocks, and can keep some out.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
PIECE = 1 << 16


class Gates:
    """All gates of a swarm, on one event loop in a thread. Close it at the end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._open: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._sides: tuple[frozenset[str], ...] = ()

    def add(self, host: str, port: int) -> int:
        """A gate before `host`:`port`; returns its own port, on the same host."""
        return self._run(self._serve(host, port))

    def part(self, *sides: Collection[str]) -> None:
        """Let hosts of different sides exchange nothing, from now until `heal`."""
        self._sides = tuple(frozenset(side) for side in sides)
        self._run(self._cut())

    def heal(self) -> None:
        self._sides = ()

    def close(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, action: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(30)

    async def _serve(self, host: str, port: int) -> int:
        async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            guest = writer.get_extra_info("peername")[0]
            task = asyncio.current_task()
            assert task is not None
            self._open[task] = (guest, host)
            try:
                if self._together(guest, host):
                    await _join(reader, writer, host, port)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                del self._open[task]
                writer.transport.abort()

        server = await asyncio.start_server(admit, host, 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _together(self, guest: str, host: str) -> bool:
        """A guest that hides its address counts as the other side's while there are sides."""
        return not self._sides or any(guest in side and host in side for side in self._sides)

    async def _cut(self) -> None:
        for task, (guest, host) in list(self._open.items()):
            if not self._together(guest, host):
                task.cancel()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.sleep(0)


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    """Carry bytes both ways until either side ends."""
    inner_reader, inner_writer = await asyncio.open_connection(host, port)
    ways = [
        asyncio.ensure_future(_carry(reader, inner_writer.write, inner_writer.drain)),
        asyncio.ensure_future(_carry(inner_reader, writer.write, writer.drain)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        inner_writer.transport.abort()


async def _carry(
    reader: asyncio.StreamReader,
    write: Callable[[bytes], None],
    drain: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE):
            write(piece)
            await drain()
