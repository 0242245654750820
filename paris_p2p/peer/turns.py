"""The order in which the starts of a slot are tried: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from paris_p2p.peer.racing import LeastPace
from paris_p2p.peer.starts import Start

BRISK, PATIENT = LeastPace(look=30.0), LeastPace(look=60.0, soon=900.0, rate=64 * 1024.0)
"""The pace that a start has to be served at, at first, and once every other start was tried."""


@dataclass(frozen=True)
class Turn:
    """A start to be tried, the seconds without a byte that it is waited for, and its pace."""

    start: Start
    patience: float
    least: LeastPace


class Turns:
    """What is still to be tried, from scratch last."""

    def __init__(self, found: Sequence[tuple[Start, float]]) -> None:
        self._known = {start for start, _ in found}
        self._waiting = [Turn(start, patience, BRISK) for start, patience in found]

    def take(self) -> Turn | None:
        """The next one; None when nothing is left."""
        return self._waiting.pop(0) if self._waiting else None

    @property
    def only_scratch_left(self) -> bool:
        """Whether nothing but scratch is left."""
        return all(turn.start.is_scratch for turn in self._waiting)

    def learn(self, found: Sequence[tuple[Start, float]]) -> None:
        """Try what was not known before, too, ahead of scratch."""
        news = [(start, patience) for start, patience in found if start not in self._known]
        self._known |= {start for start, _ in news}
        self._insert([Turn(start, patience, BRISK) for start, patience in news])

    def put_off(self, turn: Turn) -> None:
        """Try a start that came too slowly once more, with more patience, ahead of scratch."""
        if turn.least == BRISK:
            self._insert([replace(turn, least=PATIENT)])

    def _insert(self, turns: Sequence[Turn]) -> None:
        scratch = [turn.start.is_scratch for turn in self._waiting].index(True)
        self._waiting[scratch:scratch] = turns
