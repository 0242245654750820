"""The time protocol: what time do you have?

Goal: warn a user whose clock is off, before records expire at the wrong moment. Non-goals: to set
a clock, or to keep a peer from starting, because the strangers who answer may lie. Several peers
are asked, and `believed_offset` decides what to believe.

    stream    /paris/time/1
    question  1 byte, ignored
    answer    8 bytes: Unix seconds, big-endian 64-bit float

The caller takes the answer to be the time in the middle of the round trip. The error is nil when
both directions are equally slow, and at most half the round trip.
"""

from __future__ import annotations

import math
import statistics
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from paris_p2p.errors import BadContent
from paris_p2p.network.swarm import PROTOCOL_PREFIX, Stream

TIME_PROTOCOL = PROTOCOL_PREFIX + "time/1"

PEERS_ASKED = 7
"""Peers asked besides those the user named: enough for a median that three networks of liars
cannot move."""

PATIENCE = 4.0
"""Seconds each has to answer: a node that starts waits for all."""

_ANSWER = struct.Struct(">d")


async def tell_time(author: bytes, stream: Stream, clock: Callable[[], float] = time.time) -> None:
    """Answer one question."""
    await stream.read_exactly(1)
    await stream.write(_ANSWER.pack(clock()))


async def ask_offset(stream: Stream, clock: Callable[[], float] = time.time) -> float:
    """Our clock minus the peer's, in seconds."""
    asked = clock()
    await stream.write(b"?")
    (theirs,) = _ANSWER.unpack(await stream.read_exactly(_ANSWER.size))
    if not math.isfinite(theirs):
        raise BadContent("a peer's clock is not finite")
    return (asked + clock()) / 2 - float(theirs)


@dataclass(frozen=True)
class Voice:
    """One peer's answer about our clock."""

    offset: float
    """Our clock minus the peer's, in seconds."""
    network: str
    """The network the peer connects from (`dht/subnets`)."""
    named: bool = False
    """Whether the user named this peer."""


def believed_offset(voices: Collection[Voice]) -> float | None:
    """The offset to believe, in seconds; None without answers.

    If peers that the user named have answered, only they count. Each network has one vote, the
    median of its peers, because identities cost nothing and addresses do. The result is the median
    of the votes; of two in the middle, the one nearer to 0.
    """
    counted = [voice for voice in voices if voice.named] or voices
    by_network: defaultdict[str, list[float]] = defaultdict(list)
    for voice in counted:
        by_network[voice.network].append(voice.offset)
    offsets = [_median(of_network) for of_network in by_network.values()]
    return _median(offsets) if offsets else None


def _median(offsets: Sequence[float]) -> float:
    return min(statistics.median_low(offsets), statistics.median_high(offsets), key=abs)
