"""The socket pipe: every byte in its place, whatever the sizes; silence and ends are noticed."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from paris_p2p.network.p2pd.pipe import PIECE, SPILL, SocketPipe
from paris_p2p.network.swarm import StreamClosed

PATIENCE = 20.0

Pair = tuple[SocketPipe, socket.socket]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A pipe, and the bare socket at its other end."""
    near, far = socket.socketpair()
    far.setblocking(False)
    pipe = SocketPipe(*await asyncio.open_unix_connection(sock=near))
    yield pipe, far
    pipe.close()
    far.close()


async def read(pipe: SocketPipe, size: int, patience: float = PATIENCE) -> bytes:
    target = bytearray(size)
    await pipe.read_into(memoryview(target), patience)
    return bytes(target)


def sending(far: socket.socket, data: bytes) -> asyncio.Task[None]:
    return asyncio.create_task(asyncio.get_running_loop().sock_sendall(far, data))


@pytest.mark.parametrize("size", [0, 1, SPILL - 1, SPILL, SPILL + 1, PIECE + 1, 1 << 20])
async def test_bytes_arrive_whole(pair: Pair, size: int) -> None:
    pipe, far = pair
    data = random.Random(size).randbytes(size)
    sent = sending(far, data)
    assert await read(pipe, size) == data
    await sent


async def test_reads_of_all_sizes_follow_each_other(pair: Pair) -> None:
    pipe, far = pair
    rng = random.Random(0)
    sizes = [rng.choice([1, 36, 1000, SPILL, 3 * SPILL, PIECE]) for _ in range(60)]
    data = rng.randbytes(sum(sizes))
    sent = sending(far, data)
    assert b"".join([await read(pipe, size) for size in sizes]) == data
    await sent


async def test_what_asyncio_has_read_already_comes_first() -> None:
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=near)
    data = random.Random(0).randbytes(3 * SPILL)
    far.sendall(data[:1000])
    start = await reader.readexactly(10)
    pipe = SocketPipe(reader, writer)
    far.sendall(data[1000:])
    assert start + await read(pipe, len(data) - 10) == data
    pipe.close()
    far.close()


async def test_an_end_in_the_middle_is_told(pair: Pair) -> None:
    pipe, far = pair
    far.send(b"half")
    far.close()
    with pytest.raises(StreamClosed, match="4 bytes early"):
        await read(pipe, 8)
    with pytest.raises(StreamClosed):
        await read(pipe, 1)


async def test_silence_is_told(pair: Pair) -> None:
    pipe, far = pair
    far.send(b"half")
    with pytest.raises(StreamClosed, match="silent"):
        await read(pipe, 8, patience=0.1)


async def test_as_long_as_something_moves_nothing_is_told(pair: Pair) -> None:
    pipe, far = pair
    reading = asyncio.create_task(read(pipe, 15, patience=2.0))
    for _ in range(15):
        far.send(b".")
        await asyncio.sleep(0.15)
    assert await reading == b"." * 15


async def test_a_read_that_was_given_up_leaves_the_rest_readable(pair: Pair) -> None:
    pipe, far = pair
    reading = asyncio.create_task(read(pipe, 100))
    await asyncio.sleep(0)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    far.send(b"rest")
    assert await read(pipe, 4) == b"rest"


async def test_a_writer_feels_a_reader_that_does_not_read(pair: Pair) -> None:
    pipe, _ = pair
    with pytest.raises(StreamClosed, match="silent"):
        await pipe.write(bytes(32 << 20), patience=0.1)


async def test_all_that_is_written_arrives(pair: Pair) -> None:
    pipe, far = pair
    data = random.Random(0).randbytes(3 << 20)
    writing = asyncio.create_task(pipe.write(data, PATIENCE))
    received = bytearray()
    while len(received) < len(data):
        received += await asyncio.get_running_loop().sock_recv(far, 1 << 20)
    await writing
    assert received == data


Use = Callable[[SocketPipe], Awaitable[object]]


@pytest.mark.parametrize(
    "use",
    [lambda pipe: read(pipe, 1), lambda pipe: pipe.write(b"x", PATIENCE)],
    ids=["read", "write"],
)
async def test_a_closed_pipe_is_closed(pair: Pair, use: Use) -> None:
    pipe, _ = pair
    pipe.close()
    pipe.close()
    with pytest.raises(StreamClosed):
        await use(pipe)
