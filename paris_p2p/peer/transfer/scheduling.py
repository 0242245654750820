"""Who is asked for which chunk next: the decisions of a fetch, without any I/O.

Every source works off its own short queue of chunks and is asked for more before that runs dry, so
the fast ones get more. Where nothing is left to ask for, an idle source is asked for a chunk that
a much slower one has not delivered yet; the first good copy counts. No chunk is asked of more than
two at a time, and a source doubles for one chunk at a time, so little can be wasted.

Pure: `now` is an argument, in seconds of any clock, the same one in every call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

SOURCES = 4
"""Sources asked at a time while none is slow."""

MOST_SOURCES = 8
"""Sources asked at a time when others are slow."""

FIRST_WINDOW = 4
FEWEST_AHEAD, MOST_AHEAD = 2, 16
"""Chunks a source is asked for ahead: at first, and at least and at most once its pace is known."""

HORIZON = 0.5
"""Seconds of work that a source is asked for ahead."""

SLOW_AFTER = 2.0
"""Seconds without a chunk after which a source counts as slow."""

SLOWER, BRISK = 4.0, 0.125
"""A source counts as slow when it takes so many times as long as the fastest and more than these
seconds a chunk."""

GIVEN_UP_AFTER, MOST_DOUBLINGS = 10.0, 6
"""Seconds without a chunk after which a source may have to make room for another one, and how often
they are doubled for a source that failed before: some are slow for everybody."""

WORTH_DOUBLING = 2.0
"""A chunk is asked of a second source when the first needs so many times as long for it."""

UNKNOWN_PACE = 1.0
"""Seconds a chunk that a source is supposed to take before it has delivered one."""

SMOOTHING = 0.3
"""Weight of the newest chunk in a source's pace."""


@dataclass
class _Work:
    """What one source was asked for, oldest first, and how it goes."""

    since: float
    """When it last delivered, or was given work after having none."""
    patience: float
    """Seconds without a chunk after which it may have to make room."""
    asked: dict[bytes, None] = field(default_factory=dict)
    lacking: set[bytes] = field(default_factory=set)
    pace: float | None = None
    """Seconds a chunk, smoothed; None before the first."""

    def expected_pace(self, now: float) -> float:
        """Seconds a chunk will take, as far as can be told: a stall counts as slowness."""
        usual = UNKNOWN_PACE if self.pace is None else self.pace
        return max(usual, now - self.since) if self.asked else usual

    def window(self) -> int:
        """Chunks it should be asked for ahead."""
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
        """How many chunks have not arrived."""
        return len(self._missing)

    def join(self, source: bytes, now: float, strikes: int = 0) -> None:
        """A source is being contacted; it counts as slow when that takes long.

        One that had to make room before, `strikes` times in a row, gets twice the time each time.
        """
        self._work[source] = _Work(now, GIVEN_UP_AFTER * 2.0 ** min(strikes, MOST_DOUBLINGS))

    def leave(self, source: bytes) -> None:
        """A source is gone: what it was asked for and nobody else is, must be asked again."""
        for chunk in self._work.pop(source).asked:
            self._unask(chunk)

    def take(self, source: bytes, now: float) -> list[bytes]:
        """Chunks to ask of `source` now, beyond those it was asked for already; often none."""
        work = self._work[source]
        window = min(work.window(), self._share())
        if 2 * len(work.asked) > window:
            return []
        batch = list(islice(self._new_to(work), window - len(work.asked)))
        if not (batch or work.asked):
            batch = self._doubled(source, now)
        if batch and not work.asked:
            work.since = now
        for chunk in batch:
            self._ask(work, chunk)
        return batch

    def arrived(self, source: bytes, chunk: bytes, now: float) -> bool:
        """`source` delivered a chunk it was asked for; True when it is the first to."""
        work = self._work[source]
        work.delivered(now)
        self._forget(work, chunk)
        first = chunk in self._missing
        self._missing.pop(chunk, None)
        self._unasked.pop(chunk, None)
        return first

    def lacks(self, source: bytes, chunk: bytes, now: float) -> None:
        """`source` says that it does not have a chunk it was asked for."""
        work = self._work[source]
        work.lacking.add(chunk)
        work.since = now
        del work.asked[chunk]
        self._unask(chunk)

    def useful(self, source: bytes) -> bool:
        """Whether `source` may have anything that is still missing."""
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
        """How many more sources should be asked."""
        brisk = sum(not self.slow(source, now) for source in self._work)
        enough = min(SOURCES, len(self._missing))
        return max(0, min(enough - brisk, MOST_SOURCES - len(self._work)))

    def stuck(self, now: float) -> bool:
        """Whether nobody delivers as one should."""
        return all(self.slow(source, now) for source in self._work)

    def superfluous(self, now: float) -> bytes | None:
        """Where no room is left: the source that keeps us waiting longest, if it is too long."""
        waits = [
            (now - work.since, source)
            for source, work in self._work.items()
            if now - work.since > max(work.patience, SLOWER * (work.pace or 0.0))
        ]
        return max(waits)[1] if waits and len(self._work) >= MOST_SOURCES else None

    def sources(self) -> Collection[bytes]:
        """Who is being asked, or contacted."""
        return self._work.keys()

    def _share(self) -> int:
        """A fair part of what nobody was asked for yet: a short file is divided too."""
        return max(1, -(-len(self._unasked) // len(self._work)))

    def _new_to(self, work: _Work) -> Iterator[bytes]:
        return (chunk for chunk in self._unasked if chunk not in work.lacking)

    def _doubled(self, source: bytes, now: float) -> list[bytes]:
        """The chunk that is furthest from arriving, if `source` would be much faster with it."""
        mine = self._work[source]
        waits = [
            (place * work.expected_pace(now), chunk)
            for other, work in self._work.items()
            if other != source
            for place, chunk in enumerate(work.asked, 1)
            if self._askers[chunk] == 1 and chunk in self._missing and chunk not in mine.lacking
        ]
        longest, chunk = max(waits, default=(0.0, b""))
        return [chunk] if longest > WORTH_DOUBLING * mine.expected_pace(now) else []

    def _ask(self, work: _Work, chunk: bytes) -> None:
        work.asked[chunk] = None
        self._unasked.pop(chunk, None)
        self._askers[chunk] = self._askers.get(chunk, 0) + 1

    def _forget(self, work: _Work, chunk: bytes) -> None:
        del work.asked[chunk]
        self._askers[chunk] -= 1
        if not self._askers[chunk]:
            del self._askers[chunk]

    def _unask(self, chunk: bytes) -> None:
        """One source fewer will deliver `chunk`."""
        self._askers[chunk] -= 1
        if not self._askers[chunk]:
            del self._askers[chunk]
            if chunk in self._missing:
                self._unasked[chunk] = None
