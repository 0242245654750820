"""The objectives that experts are trained with, and the velocity that each expert's answer means.

| name | the network predicts | from | at times |
|---|---|---|---|
| `flow` | eps - x0 | (1 - t) x0 + t eps | uniform |
| `flow-logit-normal` | eps - x0 | (1 - t) x0 + t eps | logit-normal (arXiv 2403.03206) |
| `ddpm-linear` | eps | alpha x0 + sigma eps, linear schedule | uniform |
| `ddpm-cosine` | eps | alpha x0 + sigma eps, cosine schedule | uniform |

Experts of different objectives make one mixture because each answers as a velocity of the straight
path (arXiv 2603.06741). All networks get 1000 times their own time, which is s for `ddpm-*`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional

from paris_p2p.model.objective import (
    Corruption,
    DrawTimes,
    Text,
    VelocityField,
    interpolate,
    uniform_times,
)
from paris_p2p.model.schedules import CosineSchedule, LinearSchedule, Schedule

Prediction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A network: (x (N, C, h, w), time (N,), text (N, L, D), mask (N, L)) -> (N, C, h, w)."""

LATEST: Final = 0.95
"""The latest flow time at which a noise prediction is asked; the state at later ones counts as of
this one. x0 = (x - t eps) / (1 - t) divides the network's error by 1 - t, and at t = 1 by 0. A
velocity is smooth in t, so that this costs an exact expert a twentieth of its change. Of one that
was trained for 300 steps it made right pictures: 98% of those trained on, against 75% at 0.99."""


class ExpertObjective(Protocol):
    """What an expert learns to predict, and what its answer means."""

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        """Random times (N,) to train at, drawn on the CPU."""

    def corrupt(self, x0: Tensor, corruption: Corruption) -> Tensor:
        """The state (N, C, h, w) between `x0` and the corruption's noise, at its times."""

    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        """What the network should predict there."""

    def as_velocity(self, network: Prediction) -> VelocityField:
        """The network's answer as a velocity of the straight path."""


def logit_normal_times(count: int, generator: Generator) -> Tensor:
    return torch.randn(count, generator=generator).sigmoid()


@dataclass(frozen=True)
class FlowMatching:
    """Conditional flow matching (arXiv 2210.02747) on the straight path (arXiv 2209.03003)."""

    times: DrawTimes = uniform_times

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        return self.times(count, generator)

    def corrupt(self, x0: Tensor, corruption: Corruption) -> Tensor:
        return interpolate(x0, corruption.eps, corruption.t)

    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        """dx_t/dt, the same at every time of a straight path."""
        return eps - x0

    def as_velocity(self, network: Prediction) -> VelocityField:
        return network


@dataclass(frozen=True)
class NoisePrediction:
    """DDPM's objective (arXiv 2006.11239): which noise is in the state?"""

    schedule: Schedule

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        return uniform_times(count, generator)

    def corrupt(self, x0: Tensor, corruption: Corruption) -> Tensor:
        alpha = _like(self.schedule.alpha(corruption.t), x0)
        return alpha * x0 + (1 - alpha**2).sqrt() * corruption.eps

    def target(self, x0: Tensor, eps: Tensor) -> Tensor:
        return eps

    def as_velocity(self, network: Prediction) -> VelocityField:
        """The network asked at the time s of equal signal-to-noise, with its input rescaled.

        x_t = (1 - t) x0 + t eps has the signal-to-noise of x_s = x_t / sqrt((1 - t)^2 + t^2) where
        sigma_s / alpha_s = t / (1 - t). Of the eps predicted there, x0 = (x_t - t eps) / (1 - t),
        so the velocity eps - x0 is (eps - x_t) / (1 - t). It is affine in eps, so that guidance of
        velocities is guidance of noise predictions.
        """

        def velocity(x: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
            t = t.clamp(max=LATEST)
            noise = _like(t, x)
            state = x / torch.hypot(1 - noise, noise)
            eps = network(state, self.schedule.time_at(t / (1 - t)), text, mask)
            return (eps - x) / (1 - noise)

        return velocity


EXPERT_OBJECTIVES: Final[Mapping[str, ExpertObjective]] = {
    "flow": FlowMatching(),
    "flow-logit-normal": FlowMatching(logit_normal_times),
    "ddpm-linear": NoisePrediction(LinearSchedule()),
    "ddpm-cosine": NoisePrediction(CosineSchedule()),
}


def expert_loss(
    objective: ExpertObjective, network: Prediction, x0: Tensor, text: Text, corruption: Corruption
) -> Tensor:
    """Mean squared error of the network's prediction."""
    state = objective.corrupt(x0, corruption)
    predicted = network(state, corruption.t, text.tokens, text.mask)
    return functional.mse_loss(predicted.float(), objective.target(x0, corruption.eps))


def _like(times: Tensor, x: Tensor) -> Tensor:
    """Times (N,) as (N, 1, 1, 1), to multiply `x` (N, C, h, w)."""
    return times.view(-1, *[1] * (x.ndim - 1))
