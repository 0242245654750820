"""From noise to data along a velocity: Euler's method, and diffusers' schedulers.

Each follows dx/dt = v(x, t) from t = 1 (noise) to t = 0 (data) at equally spaced times. The higher
orders of the others reach the same end with fewer steps where the path is smooth. Heun's method
asks for the velocity twice a step, except in the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x (N, C, h, w), t (N,)) -> dx/dt (N, C, h, w)."""

StepListener = Callable[[int, int], None]
"""Called with (calls of the velocity done, calls in all) after every call."""

Integrator = Callable[[Velocity, Tensor, int, StepListener | None], Tensor]
"""(velocity, noise (N, C, h, w), steps, listener) -> x0 (N, C, h, w)."""

DEIS_END: Final = 1e-4
"""The noise that DEIS leaves. diffusers ends it at 1/N, and its formula divides by zero at 0."""

FLOW: Final = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
"""Makes diffusers' schedulers follow a velocity on the straight path."""


def euler(
    velocity: Velocity, noise: Tensor, steps: int, on_step: StepListener | None = None
) -> Tensor:
    """x0 (N, C, h, w) from `noise`: `steps` equal Euler steps of dx/dt from t = 1 to t = 0."""
    x = noise
    for step in range(steps):
        t = torch.full((len(x),), 1 - step / steps, dtype=x.dtype, device=x.device)
        x = x - velocity(x, t) / steps
        if on_step is not None:
            on_step(step + 1, steps)
    return x


def _heun(steps: int) -> Any:
    scheduler = FlowMatchHeunDiscreteScheduler(num_train_timesteps=steps)  # its last time is 1/N
    scheduler.set_timesteps(steps)
    return scheduler


def _unipc(steps: int) -> Any:
    scheduler = UniPCMultistepScheduler(**FLOW)
    scheduler.set_timesteps(steps)
    return scheduler


def _dpm(steps: int) -> Any:
    scheduler = DPMSolverMultistepScheduler(**FLOW)
    scheduler.set_timesteps(steps)
    return scheduler


def _deis(steps: int) -> Any:
    scheduler = DEISMultistepScheduler(**FLOW)
    scheduler.set_timesteps(steps)
    scheduler.sigmas[-1] = DEIS_END
    return scheduler


def _of_diffusers(scheduler_for: Callable[[int], Any]) -> Integrator:
    """The integrator that takes the steps of one of diffusers' schedulers.

    A scheduler's sigma is our t. Its own timesteps are sigmas in thousandths, some of them cut.
    """

    def integrate(
        velocity: Velocity, noise: Tensor, steps: int, on_step: StepListener | None = None
    ) -> Tensor:
        scheduler = scheduler_for(steps)
        scheduler.set_begin_index(0)
        calls, x = len(scheduler.timesteps), noise
        for call, (timestep, sigma) in enumerate(
            zip(scheduler.timesteps, scheduler.sigmas, strict=False), start=1
        ):
            t = torch.full((len(x),), float(sigma), dtype=x.dtype, device=x.device)
            x = scheduler.step(velocity(x, t), timestep, x, return_dict=False)[0]
            if on_step is not None:
                on_step(call, calls)
        return x

    return integrate


INTEGRATORS: Final[Mapping[str, Integrator]] = {
    "euler": euler,
    "heun": _of_diffusers(_heun),
    "unipc": _of_diffusers(_unipc),
    "dpm++": _of_diffusers(_dpm),
    "deis": _of_diffusers(_deis),
}
"""By the names that `--sampler` takes."""
