"""Sources of content, and what this process has learnt about them: who lies, who fails and when.

Pure: `now` is an argument, in seconds of any clock, the same one in every call.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from paris_p2p.identity import peer_id_of

FIRST_BAN = 0.5
LONGEST_BAN = 60.0
"""Seconds for which a source is left alone after its first failure, doubled with every further
one in a row, up to the longest; a fifth more or less, since many may wait for one source."""

REMEMBERED = 4096
"""Sources whose failures are remembered; beyond that, the longest unheard of are forgotten."""


@dataclass(frozen=True)
class Source:
    """A peer that says it serves a content: its author key and where it can be dialled."""

    author: bytes
    addresses: tuple[str, ...]

    @property
    def key(self) -> bytes:
        """What its standing is kept under."""
        return self.author

    @property
    def name(self) -> str:
        """How people call it."""
        return f"provider {peer_id_of(self.author)}"


@dataclass(frozen=True)
class Seed:
    """A web server that the run names, over a copy of a store's chunks."""

    url: str

    @property
    def key(self) -> bytes:
        """What its standing is kept under."""
        return self.url.encode()

    @property
    def name(self) -> str:
        """How people call it."""
        return f"web seed {self.url}"


class Reputation:
    """Which sources may be asked now, from how they have behaved towards this process.

    A liar is never asked again. One that froze, was busy, left or could not be reached is asked
    again after a while, and in good standing again once it delivers.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._strikes: dict[bytes, int] = {}
        self._banned_until: dict[bytes, float] = {}

    def lied(self, key: bytes) -> None:
        """It sent what was not asked for."""
        self._ban(key, math.inf)

    def failed(self, key: bytes, now: float) -> None:
        """It did not deliver: gone, frozen, too slow, busy, or without what it announced."""
        strikes = self._strikes.pop(key, 0) + 1
        self._strikes[key] = strikes
        length = min(LONGEST_BAN, FIRST_BAN * 2.0 ** min(strikes - 1, 16))
        self._ban(key, max(self.free_at(key), now + length * self._rng.uniform(0.8, 1.2)))

    def delivered(self, key: bytes) -> None:
        """It sent what was asked for: earlier failures are forgotten."""
        self._strikes.pop(key, None)

    def strikes(self, key: bytes) -> int:
        """Its failures in a row."""
        return self._strikes.get(key, 0)

    def free_at(self, key: bytes) -> float:
        """When it may be asked: -inf for "always could be", inf for a liar."""
        return self._banned_until.get(key, -math.inf)

    def is_liar(self, key: bytes) -> bool:
        """Whether it ever lied."""
        return self.free_at(key) == math.inf

    def askable(self, keys: Iterable[bytes], now: float) -> list[bytes]:
        """Those that may be asked now, the fewest failures first, otherwise in random order."""
        free = [key for key in keys if self.free_at(key) <= now]
        self._rng.shuffle(free)
        return sorted(free, key=self.strikes)

    def _ban(self, key: bytes, until: float) -> None:
        self._banned_until.pop(key, None)
        self._banned_until[key] = until
        while len(self._banned_until) > REMEMBERED:
            oldest = next(iter(self._banned_until))
            del self._banned_until[oldest]
            self._strikes.pop(oldest, None)
