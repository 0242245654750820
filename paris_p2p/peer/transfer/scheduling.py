"""The next chunk to ask of each source: the decisions of a fetch, without any I/O.

Every source has a short queue of requested chunks and is asked for more before it is empty, so fast
sources get more. If no chunk is left to ask for, an idle source is asked for a chunk that a much
slower one has not delivered yet. The first good copy counts. To limit waste, a source doubles one
chunk at a time, and a chunk is asked of two moving sources at most: those that were asked just now
or sent a piece of one lately. Idle sources take turns at it, so that sources that trickle cannot
keep it from one that delivers.

Pure: `now` is an argument, in seconds of any clock, the same one in every call.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

SOURCES = 4
"""Most sources asked at a time while none is slow."""

MOST_SOURCES = 8
"""Most sources asked at a time when some are slow."""

FIRST_WINDOW = 4
FEWEST_AHEAD, MOST_AHEAD = 2, 16
"""Chunks asked of a source ahead: at first; then, once its pace is known, at least and at most."""

HORIZON = 0.5
"""Seconds of work that a source is asked for ahead."""

SLOW_AFTER = 2.0
"""Seconds without a chunk after which a source counts as slow."""

SLOWER, BRISK = 4.0, 0.125
"""A source is slow if a chunk takes SLOWER times as long as from the fastest source, and more than
BRISK seconds."""

GIVEN_UP_AFTER, MOST_DOUBLINGS = 10.0, 6
"""Seconds without a chunk after which a source may be dropped for another one, and how often they
are doubled at most for a source that failed before: some are slow for everybody."""

BEGUN_AFTER = 5.0
"""Seconds that a source has for the first piece of a chunk until it no longer counts as moving. So
MOST_SOURCES that trickle are found out well within a fetch's patience."""

WORTH_DOUBLING = 2.0
"""A chunk is asked of a second source if the first needs so many times as long for it."""

UNKNOWN_PACE = 1.0
"""Assumed seconds per chunk of a source that has not delivered one yet."""

SMOOTHING = 0.3
"""Weight of the newest chunk in a source's pace."""


@dataclass
class _Work:
    """The chunks asked of one source, oldest first, and its pace."""

    since: float
    """When it last delivered, or was asked after being idle."""
    patience: float
    """Seconds without a chunk after which it may be dropped."""
    asked: dict[bytes, None] = field(default_factory=dict)
    lacking: set[bytes] = field(default_factory=set)
    piece_at: float = -math.inf
    """When it last sent a piece of a chunk."""
    idle_since: float = math.inf
    """When it first found nothing to be asked for; inf while it is asked or not yet ready."""
    pace: float | None = None
    """Smoothed seconds per chunk; None before the first."""

    def expected_pace(self, now: float) -> float:
        """Expected seconds per chunk. A stall counts as slowness."""
        usual = UNKNOWN_PACE if self.pace is None else self.pace
        return max(usual, now - self.since) if self.asked else usual

    def is_moving(self, now: float) -> bool:
        """Whether it may deliver: it had hardly time to, or it has begun."""
        return now - self.since <= BEGUN_AFTER or now - self.piece_at <= GIVEN_UP_AFTER

    def window(self) -> int:
        """Chunks to ask for ahead."""
        if self.pace is None:
            return FIRST_WINDOW
        return max(FEWEST_AHEAD, min(MOST_AHEAD, int(HORIZON / max(self.pace, 1e-6))))

    def delivered(self, now: float) -> None:
        took = now - self.since
        self.pace = took if self.pace is None else self.pace + SMOOTHING * (took - self.pace)
        self.since = now


class Scheduler:
    """Divides the chunks of one fetch among its sources."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._missing = dict.fromkeys(chunks)
        self._unasked = dict.fromkeys(self._missing)
        self._askers: dict[bytes, int] = {}
        self._work: dict[bytes, _Work] = {}

    @property
    def missing(self) -> int:
        """The number of chunks that have not arrived."""
        return len(self._missing)

    def join(self, source: bytes, now: float, strikes: int = 0) -> None:
        """Add a source that is being contacted. It counts as slow if that takes long.

        Its time until it may be dropped doubles with each of its `strikes` (failures in a row).
        """
        self._work[source] = _Work(now, GIVEN_UP_AFTER * 2.0 ** min(strikes, MOST_DOUBLINGS))

    def leave(self, source: bytes) -> None:
        """Remove a source. The chunks asked only of it are to be asked again."""
        for chunk in self._work.pop(source).asked:
            self._unask(chunk)

    def take(self, source: bytes, now: float) -> list[bytes]:
        """More chunks to ask of `source` now; often none."""
        work = self._work[source]
        window = min(work.window(), self._share())
        if 2 * len(work.asked) > window:
            return []
        batch = list(islice(self._new_to(work), window - len(work.asked)))
        if not (batch or work.asked):
            work.idle_since = min(work.idle_since, now)
            batch = self._doubled(work, now)
        if batch and not work.asked:
            work.since = now
        for chunk in batch:
            self._ask(work, chunk)
        return batch

    def heard(self, source: bytes, now: float) -> None:
        """Note that a piece of a chunk came from `source`."""
        self._work[source].piece_at = now

    def arrived(self, source: bytes, chunk: bytes, now: float) -> bool:
        """Note that `source` delivered a requested chunk. True if it is the first to deliver it."""
        work = self._work[source]
        work.delivered(now)
        self._forget(work, chunk)
        first = chunk in self._missing
        self._missing.pop(chunk, None)
        self._unasked.pop(chunk, None)
        return first

    def lacks(self, source: bytes, chunk: bytes, now: float) -> None:
        """Note that `source` lacks a requested chunk."""
        work = self._work[source]
        work.lacking.add(chunk)
        work.since = now
        del work.asked[chunk]
        self._unask(chunk)

    def useful(self, source: bytes) -> bool:
        """Whether `source` may have a missing chunk."""
        lacking = self._work[source].lacking
        return len(lacking) < len(self._missing) or not lacking.issuperset(self._missing)

    def slow(self, source: bytes, now: float) -> bool:
        """Whether others should be tried beside `source`."""
        work = self._work[source]
        paces = [other.pace for other in self._work.values() if other.pace is not None]
        waiting = bool(work.asked) or work.pace is None
        if waiting and now - work.since > SLOW_AFTER:
            return True
        return work.pace is not None and work.pace > max(BRISK, SLOWER * min(paces))

    def wanted(self, now: float) -> int:
        """The number of further sources to ask."""
        brisk = sum(not self.slow(source, now) for source in self._work)
        enough = min(SOURCES, len(self._missing))
        return max(0, min(enough - brisk, MOST_SOURCES - len(self._work)))

    def stuck(self, now: float) -> bool:
        """Whether all sources are slow."""
        return all(self.slow(source, now) for source in self._work)

    def superfluous(self, now: float) -> bytes | None:
        """The source that has been silent longest, if too long and no place is left; else None."""
        waits = [
            (now - work.since, source)
            for source, work in self._work.items()
            if now - work.since > max(work.patience, SLOWER * (work.pace or 0.0))
        ]
        return max(waits)[1] if waits and len(self._work) >= MOST_SOURCES else None

    def sources(self) -> Collection[bytes]:
        """The sources that are being asked or contacted."""
        return self._work.keys()

    def _share(self) -> int:
        """A fair share of the unasked chunks, so that a short file is divided too."""
        return max(1, -(-len(self._unasked) // len(self._work)))

    def _new_to(self, work: _Work) -> Iterator[bytes]:
        return (chunk for chunk in self._unasked if chunk not in work.lacking)

    def _doubled(self, mine: _Work, now: float) -> list[bytes]:
        """The chunk that is furthest from arriving, if an idle source would deliver it much faster
        and no better one is idle, nor an equal one for longer."""
        waits = [
            (place * work.expected_pace(now), chunk)
            for work in self._work.values()
            for place, chunk in enumerate(work.asked, 1)
            if chunk in self._missing and chunk not in mine.lacking and self._may_double(chunk, now)
        ]
        longest, chunk = max(waits, default=(0.0, b""))
        idle = (
            work
            for work in self._work.values()
            if work.idle_since < math.inf
            and chunk not in work.lacking
            and longest > WORTH_DOUBLING * work.expected_pace(now)
        )
        best = min(idle, key=lambda work: (work.expected_pace(now), work.idle_since), default=None)
        return [chunk] if best is mine else []

    def _may_double(self, chunk: bytes, now: float) -> bool:
        """Whether fewer than two moving sources were asked for a chunk."""
        askers = (work for work in self._work.values() if chunk in work.asked)
        return sum(work.is_moving(now) for work in askers) < 2

    def _ask(self, work: _Work, chunk: bytes) -> None:
        work.asked[chunk] = None
        work.idle_since = math.inf
        self._unasked.pop(chunk, None)
        self._askers[chunk] = self._askers.get(chunk, 0) + 1

    def _forget(self, work: _Work, chunk: bytes) -> None:
        del work.asked[chunk]
        self._askers[chunk] -= 1
        if not self._askers[chunk]:
            del self._askers[chunk]

    def _unask(self, chunk: bytes) -> None:
        """Note that one source fewer will deliver `chunk`."""
        self._askers[chunk] -= 1
        if not self._askers[chunk]:
            del self._askers[chunk]
            if chunk in self._missing:
                self._unasked[chunk] = None
