"""The time protocol: the offset is right, and one liar moves nothing."""

from __future__ import annotations

import math
import struct
from functools import partial

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.network.clock import (
    TIME_PROTOCOL,
    Voice,
    ask_offset,
    believed_offset,
    tell_time,
)
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.network.swarm import Handler, Stream


async def offset_from(handler: Handler) -> float:
    network = MemoryNetwork()
    asker, teller = (network.join(Identity.generate().author) for _ in "ab")
    await teller.serve(TIME_PROTOCOL, handler)
    stream = await asker.open(teller.author, TIME_PROTOCOL, teller.addresses())
    try:
        return await ask_offset(stream, clock=lambda: 1000.0)
    finally:
        await stream.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("theirs", [990.0, 1000.0, 1030.5])
async def test_the_offset_is_ours_minus_theirs(theirs: float) -> None:
    assert await offset_from(partial(tell_time, clock=lambda: theirs)) == 1000.0 - theirs


@pytest.mark.asyncio
@pytest.mark.parametrize("theirs", [math.nan, math.inf])
async def test_an_absurd_answer_is_refused(theirs: float) -> None:
    async def absurd(author: bytes, stream: Stream) -> None:
        await stream.write(struct.pack(">d", theirs))

    with pytest.raises(BadContent):
        await offset_from(absurd)


HONEST, LYING = "203.0.113.0/24", "198.51.100.0/24"


@pytest.mark.parametrize(
    ("voices", "believed"),
    [
        ([], None),
        ([Voice(0.1, "a"), Voice(0.2, "b"), Voice(1e9, "c")], 0.2),
        ([*(Voice(60.0, LYING) for _ in range(40)), Voice(0.2, HONEST)], 0.2),
        ([*(Voice(60.0, LYING) for _ in range(4)), Voice(0.1, HONEST), Voice(0.2, "b")], 0.2),
        ([Voice(60.0, "a"), Voice(60.0, "b"), Voice(0.2, HONEST, named=True)], 0.2),
        ([Voice(60.0, HONEST), Voice(61.0, HONEST), Voice(-90.0, HONEST)], 60.0),
    ],
)
def test_a_network_has_one_voice_and_who_was_named_the_first(
    voices: list[Voice], believed: float | None
) -> None:
    assert believed_offset(voices) == believed
