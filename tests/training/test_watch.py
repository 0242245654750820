from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from paris_p2p.errors import TrainingDiverged
from paris_p2p.training.watch import MOST_REST, DivergenceWatch, JobLimits, Meter, paced

from .jobs import RunFiles


def test_limits_count_from_the_first_step(run: RunFiles) -> None:
    limits = JobLimits(run.job(max_steps=5), step=100)
    assert not limits.reached(104)
    assert limits.reached(105)


def test_without_limits_nothing_is_reached(run: RunFiles) -> None:
    assert not JobLimits(run.job(max_steps=None), step=0).reached(10**9)


@pytest.mark.parametrize(
    ("duty_cycle", "step", "rests"),
    [(100, 2.0, []), (50, 2.0, [2.0] * 2), (10, 1.0, [9.0] * 2), (10, 60.0, [MOST_REST] * 2)],
)
def test_a_step_is_followed_by_a_rest_but_for_the_first(
    duty_cycle: int, step: float, rests: list[float]
) -> None:
    now, rested = 0.0, list[float]()

    def steps() -> Iterator[int]:
        nonlocal now
        for number in range(3):
            now += step
            yield number

    def rest(seconds: float) -> None:
        nonlocal now
        now += seconds
        rested.append(seconds)

    assert list(paced(steps(), duty_cycle, rest, lambda: now)) == [0, 1, 2]
    assert rested == pytest.approx(rests)


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
def test_what_is_no_number_is_divergence_at_once(loss: float, norm: float) -> None:
    with pytest.raises(TrainingDiverged):
        DivergenceWatch().check(loss, norm)


def test_a_noisy_falling_loss_is_none() -> None:
    watch = DivergenceWatch()
    for step in range(1000):
        watch.check(2.0 / (1 + step / 100) + (step % 7) / 3, 1.0)


def test_a_loss_that_stays_high_after_it_was_low_is() -> None:
    watch = DivergenceWatch()
    for _ in range(200):
        watch.check(0.5, 1.0)
    with pytest.raises(TrainingDiverged):
        for _ in range(200):
            watch.check(2.0, 1.0)


def test_one_bad_batch_is_not() -> None:
    watch = DivergenceWatch()
    for _ in range(200):
        watch.check(0.5, 1.0)
    watch.check(20.0, 1.0)
    watch.check(0.5, 1.0)


def test_speed_is_told_once_there_is_something_to_measure() -> None:
    meter = Meter()
    assert meter.rate(64) == 0
    assert meter.rate(128) > 0
