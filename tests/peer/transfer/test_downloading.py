"""One download, with sources and look-ups of the test's own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.peer.transfer.chunk_sources import Reputation, Seed, Source
from paris_p2p.peer.transfer.downloading import Conversation, Download

HOLDER, GONE = Source(b"holder", ()), Source(b"gone", ())


class Honest:
    """Has every chunk, each a byte long."""

    def __init__(self) -> None:
        self._asked: list[bytes] = []

    @property
    def pending(self) -> int:
        return len(self._asked)

    async def request(self, ids: Sequence[bytes]) -> None:
        self._asked.extend(ids)

    async def receive_into(self, buffer: memoryview) -> tuple[bytes, int | None]:
        return self._asked.pop(0), 1


@asynccontextmanager
async def talk_to(
    source: Source | Seed, on_piece: Callable[[], None]
) -> AsyncIterator[Conversation]:
    if source is GONE:
        raise Unreachable("nobody answers there")
    yield Honest()


async def keep(source: bytes, chunk: bytes, data: memoryview) -> None:
    """In no store at all."""


async def test_a_source_that_is_replaced_as_it_is_turned_to_is_asked_again() -> None:
    found = [[HOLDER], [GONE]]

    async def lookup() -> Sequence[Source]:
        return found.pop(0) if found else [HOLDER]

    reputation = Reputation(random.Random(0))
    download = Download([b"chunk"], lookup, (), talk_to, keep, reputation, time.monotonic)

    async with asyncio.timeout(20):
        assert await download.run(patience=1.0, first_pause=0.0) == 0


async def test_a_look_up_that_breaks_is_said_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = [ValueError("not foreseen"), Unreachable("nobody answers"), TimeoutError()]

    async def lookup() -> Sequence[Source]:
        if broken:
            raise broken.pop(0)
        return [HOLDER]

    reputation = Reputation(random.Random(0))
    download = Download([b"chunk"], lookup, (), talk_to, keep, reputation, time.monotonic)

    async with asyncio.timeout(20):
        assert await download.run(patience=5.0, first_pause=0.0) == 0
    assert [line.levelname for line in caplog.records] == ["ERROR"]
    assert "not foreseen" in caplog.text
