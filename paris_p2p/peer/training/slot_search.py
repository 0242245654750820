"""What a claimant remembers of the slots it saw, and so where and when it looks next.

A swarm may have thousands of slots and thousands of peers that wait for one. Nobody reads them
all: each looks at a few in random order, waits longer the longer it finds nothing, and comes back
early only where a lease is about to lapse. Pure: time and randomness are arguments.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from paris_p2p.records.claim import (
    FIRST_WAIT,
    GRACE,
    LEASE,
    RENEW,
    SAMPLE,
    SlotState,
    is_advancing,
    is_failing,
    longest_wait,
)

FALLOW = GRACE / 2
"""Seconds without a step, whoever claims it, after which a slot may be trained despite a claim. An
honest peer that is slow to begin may so lose its slot to one that is not."""

WATCHED = SAMPLE
"""Slots without steps that a claimant keeps an eye on."""

CONTEST = 1 / 32
"""Chance per look that a waiting peer takes up a slot that just became fallow, where it knows of no
more peers than slots; in proportion less where it knows of more. It doubles every CONTEST_DOUBLES
seconds: in a crowd the first goes and is seen to advance before many follow, and the only one that
waits goes in the end."""

CONTEST_DOUBLES = LEASE / 2

MOST_DOUBLINGS = 12
"""How often it doubles: to certainty among any number of peers that one may know."""


class SlotSearch:
    """One claimant's view of the slots that it may take."""

    def __init__(self, slots: Sequence[int], rng: random.Random) -> None:
        self._slots = slots
        self._rng = rng
        self._unseen: list[int] = []
        self._idle: dict[int, tuple[float, float]] = {}
        self._zeal = rng.random()
        self._lapsing: dict[int, float] = {}
        self._wait = FIRST_WAIT

    def next_slots(
        self, now: float, familiar: Iterable[int] = (), count: int = SAMPLE
    ) -> list[int]:
        """Where to look: only where a lease was due to lapse by now, if any was; else at `familiar`
        slots, at those it keeps an eye on, and at `count` more in an order that
        comes to each slot once before it comes to any again."""
        due = [slot for slot, lapses in self._lapsing.items() if lapses <= now]
        if due:
            return due
        if not self._unseen:
            self._unseen = self._rng.sample(self._slots, len(self._slots))
        fresh, self._unseen = self._unseen[:count], self._unseen[count:]
        return list(dict.fromkeys([*familiar, *self._watched(), *fresh]))

    def includes(self, slot: int) -> bool:
        return slot in self._slots

    @property
    def complete(self) -> bool:
        """Whether every slot has been seen in this round."""
        return not self._unseen

    def note(self, states: Iterable[SlotState], now: float) -> None:
        """Remember what was seen: which leases are failing, and which slots make no steps."""
        for state in states:
            slot, winner = state.expert, state.winner
            self._lapsing.pop(slot, None)
            if winner is not None and is_failing(winner, now) and self._comes_back():
                self._lapsing[slot] = winner.lapses
            if winner is not None and is_advancing(winner, now):
                self._idle.pop(slot, None)
            else:
                since, seen = self._idle.get(slot, (now, now))
                self._idle[slot] = (since if 0 <= now - seen <= 2 * LEASE else now, now)
        if not self._watched():
            self._zeal = self._rng.random()

    def contested(self, states: Iterable[SlotState], now: float, peers: int) -> int | None:
        """A slot of `states` to train although somebody claims it: it has been fallow too long.
        As many `peers` as are known may think the same."""
        watched = set(self._watched())
        first = CONTEST * min(1.0, len(self._slots) / max(1, peers))
        for state in states:
            fallow = self._fallow(state.expert, now)
            chance = first * 2 ** min(fallow / CONTEST_DOUBLES, MOST_DOUBLINGS)
            if fallow > 0 and state.expert in watched and self._rng.random() < chance:
                return state.expert
        return None

    def _fallow(self, slot: int, now: float) -> float:
        """Seconds for which a slot has been fallow; below 0 while it is not."""
        since, _ = self._idle.get(slot, (now, now))
        return now - since - FALLOW

    def pause(self, now: float, peers: int) -> float:
        """Seconds until the next look: twice as long as the last time up to what so many `peers`
        need, less a random half; shorter where a lease that was seen failing lapses before, or a
        slot is watched."""
        most = LEASE if self._watched() else self._wait
        wait = min(self._wait, most) * self._rng.uniform(0.5, 1.0)
        self._wait = min(2 * self._wait, longest_wait(peers, len(self._slots)))
        lapse = min(self._lapsing.values(), default=None)
        if lapse is not None:
            return min(wait, max(0.0, lapse - now) + self._rng.uniform(0, min(self._wait, RENEW)))
        return wait

    def _watched(self) -> list[int]:
        """The slots without a step that it looks at every time, the longest known first.

        Of a crowd, whose looks are many but rare, a few peers do; of few, everyone.
        """
        zealous = self._zeal < RENEW / self._wait
        return list(self._idle)[:WATCHED] if zealous else []

    def _comes_back(self) -> bool:
        """Whether to be there when a lease lapses: again, few of a crowd and every one of few."""
        return self._rng.random() < RENEW / self._wait
