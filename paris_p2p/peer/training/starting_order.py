"""The order in which the starts of a slot are tried: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from paris_p2p.peer.training.starting_points import Start
from paris_p2p.peer.transfer.racing import LeastPace, StillComing, TooSlow

BRISK, PATIENT = LeastPace(look=30.0), LeastPace(look=60.0, soon=900.0, rate=64 * 1024.0)
"""The least pace of a start's content: at first, and after the start was put off."""


@dataclass(frozen=True)
class Turn:
    """A start to try, the seconds without a byte after which it is given up, and its least pace."""

    start: Start
    patience: float
    least: LeastPace


class Turns:
    """The starts still to try. Scratch is the last.

    Parameters
    ----------
    spacing : steps between two starts from which on the further one is worth waiting for.
    limit : the download limit, in bytes a second; 0 for none. Since it is shared, the least pace is
        never above half of it.
    """

    def __init__(self, found: Sequence[tuple[Start, float]], spacing: int, limit: int = 0) -> None:
        self._spacing = spacing
        self._brisk, self._patient = _within(BRISK, limit), _within(PATIENT, limit)
        self._has_waited = False
        self._known = {start for start, _ in found}
        self._waiting = [Turn(start, patience, self._brisk) for start, patience in found]

    def take(self) -> Turn | None:
        """The next start; None if none is left."""
        return self._waiting.pop(0) if self._waiting else None

    @property
    def only_scratch_left(self) -> bool:
        """Whether only scratch is left."""
        return all(turn.start.is_scratch for turn in self._waiting)

    def learn(self, found: Sequence[tuple[Start, float]]) -> None:
        """Add the starts that were not known before, ahead of scratch."""
        news = [(start, patience) for start, patience in found if start not in self._known]
        self._known |= {start for start, _ in news}
        self._insert([Turn(start, patience, self._brisk) for start, patience in news])

    def put_off(self, turn: Turn, error: TooSlow) -> bool:
        """Retry a start that was too slow once, with more patience. False if it was retried before.

        It is retried ahead of scratch. The first that is still coming is retried ahead of all that
        are far behind it, too. Only one start is, so that slow liars cannot delay an honest one.
        """
        if turn.least == self._patient:
            return False
        again = replace(turn, least=self._patient)
        if isinstance(error, StillComing) and not self._has_waited:
            self._has_waited = True
            near = turn.start.step - self._spacing
            behind = [each.start.is_scratch or each.start.step < near for each in self._waiting]
            self._waiting.insert(behind.index(True), again)
        else:
            self._insert([again])
        return True

    def _insert(self, turns: Sequence[Turn]) -> None:
        scratch = [turn.start.is_scratch for turn in self._waiting].index(True)
        self._waiting[scratch:scratch] = turns


def _within(least: LeastPace, limit: int) -> LeastPace:
    return replace(least, rate=min(least.rate, limit / 2)) if limit else least
