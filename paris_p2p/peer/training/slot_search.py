"""A claimant's memory of the slots it saw, and the choice of its next looks.

A swarm may have thousands of slots and thousands of peers that wait for one. No peer reads them
all. Each looks at a few in random order, waits longer the longer it finds nothing, and comes back
early only for a lease that is about to lapse. Pure: time and randomness are arguments.
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
"""Seconds without a step, by any claimant, after which a slot may be trained despite a claim. So an
honest peer that starts slowly may lose its slot to a faster one."""

WATCHED = SAMPLE
"""Most slots without steps that a claimant watches."""

CONTEST = 1 / 32
"""Chance per look that a waiting peer contests a slot that has just become fallow, if it knows of
no more peers than slots; proportionally less if it knows of more. The chance doubles every
CONTEST_DOUBLES seconds. In a crowd, one peer contests and is seen to advance before many follow. A
peer that waits alone contests in the end."""

CONTEST_DOUBLES = LEASE / 2

MOST_DOUBLINGS = 12
"""Most doublings of the chance: enough for certainty with any number of known peers."""


class SlotSearch:
    """One claimant's view of the slots that it may take."""

    def __init__(self, slots: Sequence[int], rng: random.Random) -> None:
        self._slots = slots
        self._rng = rng
        self._unseen: list[int] = []
        self._idle: dict[int, tuple[float, float]] = {}
        self._watch_draw = rng.random()
        self._lapsing: dict[int, float] = {}
        self._wait = FIRST_WAIT

    def next_slots(
        self, now: float, familiar: Iterable[int] = (), count: int = SAMPLE
    ) -> list[int]:
        """The slots to look at next.

        They are the slots whose lease should have lapsed by now. If there are none, they are the
        `familiar` and watched slots, and `count` more in an order that repeats no slot before all
        were seen.
        """
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
        """Remember which of these leases are failing, and which slots make no steps."""
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
            self._watch_draw = self._rng.random()

    def contested(self, states: Iterable[SlotState], now: float, peers: int) -> int | None:
        """A slot of `states` to train despite a claim, because it has been fallow too long.

        `peers` : the number of known peers, which may decide the same.
        """
        watched = set(self._watched())
        first = CONTEST * min(1.0, len(self._slots) / max(1, peers))
        for state in states:
            fallow = self._fallow(state.expert, now)
            chance = first * 2 ** min(fallow / CONTEST_DOUBLES, MOST_DOUBLINGS)
            if fallow > 0 and state.expert in watched and self._rng.random() < chance:
                return state.expert
        return None

    def _fallow(self, slot: int, now: float) -> float:
        """Seconds for which a slot has been fallow; negative while it is not."""
        since, _ = self._idle.get(slot, (now, now))
        return now - since - FALLOW

    def pause(self, now: float, peers: int) -> float:
        """Seconds until the next look.

        The pause doubles each time, up to the longest wait for so many `peers`, and is shortened by
        up to half at random. It is shorter while a slot is watched or a failing lease lapses soon.
        """
        most = LEASE if self._watched() else self._wait
        wait = min(self._wait, most) * self._rng.uniform(0.5, 1.0)
        self._wait = min(2 * self._wait, longest_wait(peers, len(self._slots)))
        lapse = min(self._lapsing.values(), default=None)
        if lapse is not None:
            return min(wait, max(0.0, lapse - now) + self._rng.uniform(0, min(self._wait, RENEW)))
        return wait

    def _watched(self) -> list[int]:
        """The slots without steps that this claimant looks at every time, the longest known first.

        In a crowd, whose looks are many but rare, few peers watch. With few peers, all do.
        """
        watches = self._watch_draw < RENEW / self._wait
        return list(self._idle)[:WATCHED] if watches else []

    def _comes_back(self) -> bool:
        """Whether to look when a lease lapses. In a crowd few peers do; with few peers, all do."""
        return self._rng.random() < RENEW / self._wait
