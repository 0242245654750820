"""Sources of content, and their reputation with this process.

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
"""Seconds for which a source is banned after its first failure. They double with each further one
in a row, up to the longest. They vary by a fifth, since many peers may wait for one source."""

REMEMBERED = 4096
"""Most sources whose failures are kept. Beyond that, the one banned longest ago is forgotten."""


@dataclass(frozen=True)
class Source:
    """A peer that announces a content: its author key and its addresses."""

    author: bytes
    addresses: tuple[str, ...]

    @property
    def key(self) -> bytes:
        """Its key in a `Reputation`."""
        return self.author

    @property
    def name(self) -> str:
        """Its name for people."""
        return f"provider {peer_id_of(self.author)}"


@dataclass(frozen=True)
class Seed:
    """A web server with a copy of a store's chunks, named by the run."""

    url: str

    @property
    def key(self) -> bytes:
        """Its key in a `Reputation`."""
        return self.url.encode()

    @property
    def name(self) -> str:
        """Its name for people."""
        return f"web seed {self.url}"


class Reputation:
    """Tracks the failures of sources in this process, and so which sources may be asked now.

    A liar is never asked again. A source that froze, was busy, left or could not be reached is
    banned for a while. Its failures are forgotten once it delivers.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._strikes: dict[bytes, int] = {}
        self._banned_until: dict[bytes, float] = {}

    def lied(self, key: bytes) -> None:
        """Note that a source sent something else than the requested chunk."""
        self._ban(key, math.inf)

    def failed(self, key: bytes, now: float) -> None:
        """Note a failure: gone, frozen, too slow, busy, or without the announced content."""
        strikes = self._strikes.pop(key, 0) + 1
        self._strikes[key] = strikes
        length = min(LONGEST_BAN, FIRST_BAN * 2.0 ** min(strikes - 1, 16))
        self._ban(key, max(self.free_at(key), now + length * self._rng.uniform(0.8, 1.2)))

    def delivered(self, key: bytes) -> None:
        """Note that a source sent a requested chunk. Its earlier failures are forgotten."""
        self._strikes.pop(key, None)

    def strikes(self, key: bytes) -> int:
        """The source's failures in a row."""
        return self._strikes.get(key, 0)

    def free_at(self, key: bytes) -> float:
        """The time from which a source may be asked: -inf if never banned, inf for a liar."""
        return self._banned_until.get(key, -math.inf)

    def is_liar(self, key: bytes) -> bool:
        """Whether a source ever lied."""
        return self.free_at(key) == math.inf

    def askable(self, keys: Iterable[bytes], now: float) -> list[bytes]:
        """The sources that may be asked now, the fewest failures first.

        Of equals the one that failed longest ago comes first; those that never failed come in
        random order.
        """
        free = [key for key in keys if self.free_at(key) <= now]
        self._rng.shuffle(free)
        return sorted(free, key=lambda key: (self.strikes(key), self.free_at(key)))

    def _ban(self, key: bytes, until: float) -> None:
        self._banned_until.pop(key, None)
        self._banned_until[key] = until
        while len(self._banned_until) > REMEMBERED:
            oldest = next(iter(self._banned_until))
            del self._banned_until[oldest]
            self._strikes.pop(oldest, None)
