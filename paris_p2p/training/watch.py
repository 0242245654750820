"""What the training loop keeps an eye on: the job's limits, divergence and speed."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Final

from paris_p2p.errors import TrainingDiverged
from paris_p2p.training.job import Job


class Limits:
    """The job's own, counted from its first step."""

    def __init__(self, job: Job, step: int) -> None:
        seconds = math.inf if job.max_seconds is None else job.max_seconds
        self._last_step = math.inf if job.max_steps is None else step + job.max_steps
        self._deadline = time.monotonic() + seconds

    def reached(self, step: int) -> bool:
        """Whether the training, now at `step`, has had its steps or its time."""
        return step >= self._last_step or time.monotonic() >= self._deadline


class DivergenceWatch:
    """Raises TrainingDiverged when the loss is no number, or climbs far above its best average."""

    FACTOR: Final = 3.0
    """How far is far."""

    MEMORY: Final = 0.98
    """Weight of the past in the average, at each step."""

    PATIENCE: Final = 20
    """Steps before an average means anything."""

    def __init__(self) -> None:
        self._average = 0.0
        self._best = math.inf
        self._seen = 0

    def check(self, loss: float, gradient_norm: float) -> None:
        """Look at one step before it changes the weights."""
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
        """The speed, now that `images` have been seen in all; 0 while there is nothing to tell."""
        self._marks.append((time.monotonic(), images))
        (begun, before), (now, after) = self._marks[0], self._marks[-1]
        return max(0, after - before) / (now - begun) if now > begun else 0.0
