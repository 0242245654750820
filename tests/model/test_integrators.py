from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Generator, Tensor

from paris_p2p.model.integrators import INTEGRATORS, euler
from paris_p2p.sampling.request import SAMPLERS

from .gaussians import Gaussians

POINT = (2, 1, 1)
OTHERS = sorted(INTEGRATORS.keys() - {"euler"})


def noise(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, *POINT, generator=Generator().manual_seed(0), dtype=dtype)


def test_every_sampler_that_may_be_asked_for_is_there() -> None:
    assert tuple(INTEGRATORS) == SAMPLERS


def test_euler_is_exact_on_a_straight_path() -> None:
    x0, start = torch.randn(3, *POINT), torch.randn(3, *POINT)
    for steps in (1, 7):
        assert torch.allclose(euler(lambda _x, _t: start - x0, start, steps), x0, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 30])
def test_euler_is_diffusers_flow_matching_euler(steps: int) -> None:
    mixture, start = Gaussians.example(torch.float32), noise(50, torch.float32)
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist())
    x = start
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        v = mixture.mixture_velocity(x, sigma.expand(len(x)))
        x = scheduler.step(v, timestep, x, return_dict=False)[0]
    ours = euler(mixture.mixture_velocity, start, steps)
    assert (ours - x).abs().max() < 2e-6


@pytest.mark.parametrize("name", INTEGRATORS)
def test_times_fall_from_noise_to_data_and_every_call_is_told(name: str) -> None:
    times: list[float] = []
    told: list[tuple[int, int]] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (2,)
        times.append(t[0].item())
        return x

    INTEGRATORS[name](
        velocity, torch.zeros(2, *POINT), 4, lambda call, calls: told.append((call, calls))
    )
    calls = 7 if name == "heun" else 4
    assert told == [(call, calls) for call in range(1, calls + 1)]
    assert list(dict.fromkeys(times)) == pytest.approx([1.0, 0.75, 0.5, 0.25], abs=2e-3)
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_exact_velocities_give_the_mixture_back(mixture: Gaussians, name: str) -> None:
    steps = 100 if name == "euler" else 30
    points = INTEGRATORS[name](mixture.mixture_velocity, noise(20_000), steps, None).flatten(1)
    assert (points.mean(0) - mixture.mean()).abs().max() < 0.03
    assert (points.T.cov() - mixture.covariance()).abs().max() < 0.06


def test_those_of_higher_order_come_far_nearer_than_euler_in_as_many_steps(
    mixture: Gaussians,
) -> None:
    start = noise(200)
    exact = euler(mixture.mixture_velocity, start, 1000)
    errors = {
        name: (integrate(mixture.mixture_velocity, start, 16, None) - exact).square().mean().sqrt()
        for name, integrate in INTEGRATORS.items()
    }
    assert all(errors[name] < errors["euler"] / 3 for name in OTHERS), errors


@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("steps", [1, 2, 1000])
def test_any_number_of_steps_that_may_be_asked_for_works(name: str, steps: int) -> None:
    mixture, start = Gaussians.example(torch.float32), noise(2, torch.float32)
    end = INTEGRATORS[name](lambda x, t: mixture.velocity(0, x, t), start, steps, None)
    assert end.isfinite().all()
    assert end.dtype == torch.float32


@pytest.mark.parametrize("name", INTEGRATORS)
def test_the_same_noise_gives_the_same_end(mixture: Gaussians, name: str) -> None:
    one, two = (INTEGRATORS[name](mixture.mixture_velocity, noise(3), 5, None) for _ in range(2))
    assert torch.equal(one, two)
