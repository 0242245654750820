from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from paris_p2p.model.schedules import CosineSchedule, LinearSchedule, Schedule

SCHEDULES = [LinearSchedule(), CosineSchedule()]


@pytest.mark.parametrize(
    ("schedule", "name"), [(SCHEDULES[0], "linear"), (SCHEDULES[1], "squaredcos_cap_v2")]
)
def test_a_schedule_is_ddpms_own_between_its_thousand_steps(schedule: Schedule, name: str) -> None:
    discrete = DDPMScheduler(beta_schedule=name).alphas_cumprod.double()
    alpha = schedule.alpha((torch.arange(1000).double() + 1) / 1000)
    assert (alpha - discrete.sqrt()).abs().max() < 2e-3
    assert ((1 - alpha**2).sqrt() - (1 - discrete).sqrt()).abs().max() < 2e-3


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_time_of_a_noise_level_is_found_again(schedule: Schedule) -> None:
    s = torch.linspace(0.0005, 0.999, 1000).double()
    alpha = schedule.alpha(s)
    ratio = (1 - alpha**2).sqrt() / alpha
    assert (schedule.time_at(ratio) - s).abs().max() < 1e-12
    assert (schedule.time_at(ratio.float()) - s).abs().max() < 1e-5


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_state_without_noise_is_at_time_zero(schedule: Schedule) -> None:
    assert schedule.time_at(torch.zeros(1)).abs() < 1e-5
    assert (1 - schedule.alpha(torch.zeros(1))).abs() < 1e-6
