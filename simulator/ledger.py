"""Who trained what, and when: recorded by the simulation itself, whatever the claims say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """The truth about every expert. Times are seconds since the simulation began."""

    clusters: int
    time: Callable[[], float]
    first_held: dict[int, float] = field(default_factory=dict)
    """When each expert was first held by a peer that trains it."""
    taken_over: list[float] = field(default_factory=list)
    """Seconds from each loss of an expert's only trainer to the next trainer's lease."""
    useful: float = 0.0
    """Expert-seconds in which at least one peer held the expert and worked."""
    wasted: float = 0.0
    """Expert-seconds of work by further peers at the same time."""
    duplicates: list[tuple[float, float]] = field(default_factory=list)
    """When each period of duplicated work began, and how long it lasted."""
    leases: int = 0
    _trainers: dict[int, int] = field(default_factory=dict)
    _changed: dict[int, float] = field(default_factory=dict)
    _orphaned: dict[int, float] = field(default_factory=dict)
    _doubled: dict[int, float] = field(default_factory=dict)

    @property
    def all_held(self) -> float | None:
        """When the last expert found its first trainer; None if one never did."""
        return max(self.first_held.values()) if len(self.first_held) == self.clusters else None

    @property
    def orphans(self) -> list[float]:
        """How long each expert without a trainer has been without one."""
        return [self.time() - since for since in self._orphaned.values()]

    def begin(self, slot: int) -> None:
        """A peer holds the lease on `slot` and works."""
        self._count(slot, +1)
        self.leases += 1
        self.first_held.setdefault(slot, self.time())
        if slot in self._orphaned:
            self.taken_over.append(self.time() - self._orphaned.pop(slot))

    def end(self, slot: int) -> None:
        """A peer stops working on its slot: it crashed, stalled, left, or lost the lease."""
        self._count(slot, -1)
        if not self._trainers[slot]:
            self._orphaned[slot] = self.time()

    def close(self) -> None:
        """Count the work up to now."""
        for slot in list(self._trainers):
            self._count(slot, 0)
            if slot in self._doubled:
                self._end_double(slot)

    def _count(self, slot: int, change: int) -> None:
        now, before = self.time(), self._trainers.get(slot, 0)
        lasted = now - self._changed.get(slot, now)
        self.useful += lasted if before else 0.0
        self.wasted += lasted * max(0, before - 1)
        self._trainers[slot], self._changed[slot] = before + change, now
        if before < 2 <= before + change:
            self._doubled[slot] = now
        if before >= 2 > before + change:
            self._end_double(slot)

    def _end_double(self, slot: int) -> None:
        begun = self._doubled.pop(slot)
        self.duplicates.append((begun, self.time() - begun))
