"""A TCP proxy with the delay of a long link, and the stalls that lost packets cause.

    python -m peers.testbed.slow_link LISTEN_IP PORT TO_IP TO_PORT DELAY_MS LOSS_PERCENT

netem would do this in the kernel, but many kernels lack it. A lost packet holds up a TCP stream
until it is sent again. Here a piece of PIECE bytes is held up for STALL seconds.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from contextlib import suppress

PIECE = 1448
"""Bytes of one packet."""

READ = 1 << 16
STALL = 0.2
"""The shortest time after which TCP sends again (Linux: RTO_MIN)."""

QUEUE = 64
"""Most reads in flight in one direction: the capacity of the link."""


async def relay(
    listen: tuple[str, int], to: tuple[str, int], delay: float, loss: float
) -> asyncio.Server:
    """Forward connections; `delay` in seconds each way, `loss` as the share of packets."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            _carry(reader, far_writer, delay, loss, random.random),
            _carry(far_reader, writer, delay, loss, random.random),
        )

    return await asyncio.start_server(connected, *listen)


async def _carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    delay: float,
    loss: float,
    chance: Callable[[], float],
) -> None:
    """One direction: bytes come out `delay` later, in order, and later still after a stall."""
    way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE)
    clock = asyncio.get_running_loop().time

    async def take_in() -> None:
        with suppress(OSError):
            while data := await reader.read(READ):
                await way.put((clock() + delay, data))
        await way.put((clock() + delay, b""))

    taking = asyncio.create_task(take_in())
    with suppress(OSError):
        while True:
            due, data = await way.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not data:
                break
            if chance() < 1 - (1 - loss) ** (len(data) / PIECE):
                await asyncio.sleep(STALL)
            writer.write(data)
            await writer.drain()
    taking.cancel()
    writer.close()


async def _main(listen: str, port: str, to: str, to_port: str, delay: str, loss: str) -> None:
    server = await relay(
        (listen, int(port)), (to, int(to_port)), float(delay) / 1000, float(loss) / 100
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
