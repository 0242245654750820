"""DDPM's noise schedules in continuous time, and the time at which each has a given noise level.

A state of a schedule is x_s = alpha(s) x0 + sigma(s) eps with alpha^2 + sigma^2 = 1. Time s runs
from 0 (data) to 1; step i of DDPM's thousand (counted from 0) is s = (i + 1) / 1000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Schedule(Protocol):
    """How much of the data is left at each time."""

    def alpha(self, s: Tensor) -> Tensor:
        """The data's share of the state at times `s` (N,) in [0, 1]."""

    def time_at(self, ratio: Tensor) -> Tensor:
        """The time s (N,) at which sigma / alpha is `ratio` (N,), where the schedule gets there."""


@dataclass(frozen=True)
class LinearSchedule:
    """DDPM's own (arXiv 2006.11239): noise is added at a rate that grows linearly.

    alpha^2 = exp(-first s - (last - first) s^2 / 2). It ends at sigma / alpha = 152.
    """

    first: float = 0.1
    last: float = 20.0

    def alpha(self, s: Tensor) -> Tensor:
        return torch.exp(-0.5 * (self.first * s + 0.5 * (self.last - self.first) * s**2))

    def time_at(self, ratio: Tensor) -> Tensor:
        lost = torch.log1p(ratio**2)  # -log alpha^2; the root of a quadratic, without cancellation
        root = torch.sqrt(self.first**2 + 2 * (self.last - self.first) * lost)
        return 2 * lost / (self.first + root)


OFFSET: Final = 0.008
"""Keeps the first steps of the cosine schedule from adding next to no noise."""


class CosineSchedule:
    """The cosine schedule (arXiv 2102.09672): alpha falls like a cosine, to 0 at the end."""

    def alpha(self, s: Tensor) -> Tensor:
        angle = (s + OFFSET) / (1 + OFFSET) * (math.pi / 2)
        return (torch.cos(angle) / self._start).clamp(0, 1)

    def time_at(self, ratio: Tensor) -> Tensor:
        alpha = functional.normalize(torch.stack([torch.ones_like(ratio), ratio]), dim=0)[0]
        angle = torch.arccos(alpha * self._start)
        return (angle / (math.pi / 2) * (1 + OFFSET) - OFFSET).clamp(0, 1)

    @property
    def _start(self) -> float:
        return math.cos(OFFSET / (1 + OFFSET) * (math.pi / 2))
