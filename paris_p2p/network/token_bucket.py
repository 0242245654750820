"""The token bucket: a rate that is kept in the long run, with a burst at once after a rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """`per_second` in the long run, `burst` at once."""

    per_second: float
    burst: float


class TokenBucket:
    """What is left of a rate. `now` is in seconds of any epoch; where it goes back, nothing is
    added.

    `take` gives all or nothing. `spend` gives at once and may leave a debt, which `wait` tells:
    for what has passed before its size was known to fit.
    """

    def __init__(self, rate: Rate, level: float, now: float) -> None:
        self._rate = rate
        self._level = level
        self._at = now

    def level(self, now: float) -> float:
        """What may be taken at once; less than 0 for a debt."""
        gained = max(0.0, now - self._at) * self._rate.per_second
        self._level = min(self._rate.burst, self._level + gained)
        self._at = now
        return self._level

    def take(self, amount: float, now: float) -> bool:
        """Take `amount`, all of it or nothing."""
        if amount > self.level(now):
            return False
        self._level -= amount
        return True

    def spend(self, amount: float, now: float) -> None:
        """Take `amount` whether it is there or not."""
        self._level = self.level(now) - amount

    def wait(self, now: float) -> float:
        """Seconds until no debt is left."""
        return max(0.0, -self.level(now) / self._rate.per_second)
