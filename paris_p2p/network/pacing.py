"""Rate limits, and fairness between peers under them.

A `Pacer` limits the rate of bytes. They pass in small pieces, and the waiting peers take turns: a
peer with eight streams gets as much as one with a single stream. `paced` puts a pacer on both
directions of a stream.

The decisions, `TokenBucket` and `FairQueue`, are pure. A piece may put the bucket into debt; the
next one waits until the debt is paid.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Generic, TypeVar

from paris_p2p.network.swarm import Stream
from paris_p2p.network.token_bucket import Rate, TokenBucket

T = TypeVar("T")

BURST = 0.25
"""Seconds of the rate that may pass at once after a rest."""

GRAIN = 0.05
SMALLEST_PIECE, LARGEST_PIECE = 4 << 10, 256 << 10
"""Seconds of the rate that one piece takes, and its least and most bytes. Small pieces let each of
many waiting peers see progress."""

FORGETTING = 64
"""Owners with nothing in line that a queue remembers before it forgets those already served."""

LEAST_SHARE = 16 << 10
"""Bytes a second below which a peer is better off with another provider."""


class FairQueue(Generic[T]):
    """Start-time fair queueing (Goyal, Vin and Cheng 1996): equal bytes to all owners that wait.

    An owner that asks again as soon as it is served gets as much as one with many items in line.
    """

    def __init__(self) -> None:
        self._line: list[tuple[int, int, int, T]] = []
        self._finish: dict[bytes, int] = {}
        self._virtual = 0
        self._count = 0

    def __len__(self) -> int:
        return len(self._line)

    def push(self, owner: bytes, size: int, item: T) -> None:
        """Line up an item of `size` bytes behind its owner's others."""
        start = max(self._virtual, self._finish.get(owner, 0))
        self._finish[owner] = start + size
        self._count += 1
        heappush(self._line, (start, self._count, size, item))

    def pop(self) -> tuple[int, T]:
        """The next item and its size. IndexError when there is none."""
        self._virtual, _, size, item = heappop(self._line)
        if len(self._finish) > 2 * len(self._line) + FORGETTING:
            self._finish = {who: at for who, at in self._finish.items() if at > self._virtual}
        return size, item


def paying_bucket(rate: float, now: float) -> TokenBucket:
    """A full bucket for `rate` bytes a second."""
    return TokenBucket(Rate(rate, rate * BURST), rate * BURST, now)


class Pacer:
    """Limits the bytes of many peers to `rate` a second in all; None: no limit."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._bucket = paying_bucket(rate or 1.0, clock())
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()
        self._letting: asyncio.Task[None] | None = None

    @property
    def piece(self) -> int:
        """Bytes that should pass at a time."""
        wanted = LARGEST_PIECE if self.rate is None else int(self.rate * GRAIN)
        return max(SMALLEST_PIECE, min(LARGEST_PIECE, wanted))

    @property
    def most_peers(self) -> float:
        """How many peers can share the rate with at least LEAST_SHARE each."""
        return math.inf if self.rate is None else max(1, self.rate // LEAST_SHARE)

    async def let_pass(self, owner: bytes, size: int) -> None:
        """Wait until `size` bytes of `owner`, at most a `piece`, may pass."""
        if self.rate is None:
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.push(owner, size, turn)
        if self._letting is None or self._letting.done():
            self._letting = asyncio.create_task(self._let_all())
        await turn

    async def _let_all(self) -> None:
        """Let the waiting pieces pass, one after the other."""
        while self._queue:
            await asyncio.sleep(self._bucket.wait(self._clock()))
            size, turn = self._queue.pop()
            if not turn.done():  # else its stream was closed meanwhile
                self._bucket.spend(size, self._clock())
                turn.set_result(None)


@dataclass(frozen=True)
class Pacers:
    """The limits of a peer, one for each direction."""

    upload: Pacer
    download: Pacer


def unlimited() -> Pacers:
    """No limits."""
    return Pacers(Pacer(None), Pacer(None))


def paced(stream: Stream, pacers: Pacers) -> Stream:
    """`stream` with these limits."""
    if pacers.upload.rate is None and pacers.download.rate is None:
        return stream
    return _PacedStream(stream, pacers)


class _PacedStream:
    """A stream whose bytes wait for their turn, a piece at a time. Keeps the `Stream` contract."""

    def __init__(self, stream: Stream, pacers: Pacers) -> None:
        self._stream = stream
        self._pacers = pacers

    @property
    def author(self) -> bytes:
        return self._stream.author

    async def read_exactly(self, size: int, *, patience: float | None = None) -> bytes:
        data = bytearray(size)
        await self.read_into(memoryview(data), patience=patience)
        return bytes(data)

    async def read_into(self, target: memoryview, *, patience: float | None = None) -> None:
        down = self._pacers.download
        for start in range(0, len(target), down.piece):
            piece = target[start : start + down.piece]
            await down.let_pass(self.author, len(piece))
            await self._stream.read_into(piece, patience=patience)

    async def write(self, data: bytes) -> None:
        up = self._pacers.upload
        for start in range(0, len(data), up.piece):
            piece = data[start : start + up.piece]
            await up.let_pass(self.author, len(piece))
            await self._stream.write(piece)

    async def close(self) -> None:
        await self._stream.close()
