"""The token bucket: a rate limit in the long run that allows a burst after a rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """`per_second` in the long run, `burst` at once."""

    per_second: float
    burst: float


class TokenBucket:
    """A token bucket. `now` is in seconds of any epoch; when it goes back, nothing is added.

    `take` gives all or nothing. `spend` always gives and may leave a debt, for amounts that have
    passed already; `wait` tells how long the debt lasts.
    """

    def __init__(self, rate: Rate, level: float, now: float) -> None:
        self._rate = rate
        self._level = level
        self._at = now

    def level(self, now: float) -> float:
        """The tokens available now; negative for a debt."""
        gained = max(0.0, now - self._at) * self._rate.per_second
        self._level = min(self._rate.burst, self._level + gained)
        self._at = now
        return self._level

    def take(self, amount: float, now: float) -> bool:
        """Take all of `amount`, or nothing."""
        if amount > self.level(now):
            return False
        self._level -= amount
        return True

    def spend(self, amount: float, now: float) -> None:
        """Take `amount`, even into debt."""
        self._level = self.level(now) - amount

    def wait(self, now: float) -> float:
        """Seconds until no debt is left."""
        return max(0.0, -self.level(now) / self._rate.per_second)
