"""What the training loop monitors: the job's limits, its pace, divergence and speed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from paris_p2p.errors import TrainingDiverged
from paris_p2p.training.job import Job


class JobLimits:
    """The job's limits, counted from its first step."""

    def __init__(self, job: Job, step: int) -> None:
        seconds = math.inf if job.max_seconds is None else job.max_seconds
        self._last_step = math.inf if job.max_steps is None else step + job.max_steps
        self._deadline = time.monotonic() + seconds

    def reached(self, step: int) -> bool:
        """Whether training, at `step`, has used up its steps or its time."""
        return step >= self._last_step or time.monotonic() >= self._deadline


MOST_REST = 20.0
"""Seconds of one rest, however long a step took: a lease is held by steps."""

T = TypeVar("T")


def paced(
    steps: Iterable[T],
    duty_cycle: int,
    rest: Callable[[float], object],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """The steps, with a rest after each, so that they take `duty_cycle` per cent of the time.

    The first step is followed by none: it comes after everything was loaded.
    `rest` waits for so many seconds, or until training has to stop.
    """
    begun: float | None = None
    for step in steps:
        yield step
        if begun is not None and duty_cycle < 100:
            rest(min(MOST_REST, (clock() - begun) * (100 / duty_cycle - 1)))
        begun = clock()


class DivergenceWatch:
    """Raises TrainingDiverged when the loss is not finite or climbs far above its best average."""

    FACTOR: Final = 3.0
    """The factor that counts as far."""

    MEMORY: Final = 0.98
    """Weight of the past in the average, at each step."""

    PATIENCE: Final = 20
    """Steps before the average is meaningful."""

    def __init__(self) -> None:
        self._average = 0.0
        self._best = math.inf
        self._seen = 0

    def check(self, loss: float, gradient_norm: float) -> None:
        """Check one step before it changes the weights."""
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise TrainingDiverged("the loss or its gradient is no longer finite")
        self._seen += 1
        self._average += max(1 - self.MEMORY, 1 / self._seen) * (loss - self._average)
        if self._seen < self.PATIENCE:
            return
        self._best = min(self._best, self._average)
        if self._average > self.FACTOR * self._best:
            raise TrainingDiverged("the loss climbs")


class Meter:
    """Images per second over the last WINDOW steps."""

    WINDOW: Final = 20

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=self.WINDOW)

    def rate(self, images: int) -> float:
        """The speed after `images` images in all; 0 while it is not known."""
        self._marks.append((time.monotonic(), images))
        (begun, before), (now, after) = self._marks[0], self._marks[-1]
        return max(0, after - before) / (now - begun) if now > begun else 0.0
