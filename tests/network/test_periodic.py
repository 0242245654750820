"""Periodic work: a failure is logged and the next round begun; a jump of the clock ends a pause."""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.network.periodic import JUMP, SPREAD, TICK, attempt, pause, repeat, spread
from paris_p2p.network.tasks import end_tasks


@pytest.mark.asyncio
async def test_a_failed_round_is_logged_and_the_next_begun(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = [Unreachable("nobody answers"), TimeoutError("too slow"), ValueError("a bug")]
    done = asyncio.Event()

    async def action() -> None:
        if failures:
            raise failures.pop(0)
        done.set()

    task = asyncio.create_task(repeat(0.001, action, random.Random(1), first=0))
    await done.wait()
    await end_tasks(task)
    told = [(record.levelno, record.exc_info is not None) for record in caplog.records]
    assert told == [(logging.WARNING, False), (logging.WARNING, False), (logging.ERROR, True)]


@pytest.mark.asyncio
async def test_the_arguments_of_what_failed_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def action(secret: str) -> None:
        raise ValueError

    await attempt(partial(action, "hunter2"))
    (record,) = caplog.records
    assert "action" in record.getMessage()
    assert "hunter2" not in record.getMessage()


def test_periods_spread_to_both_sides() -> None:
    rng = random.Random(1)
    periods = [spread(10.0, rng) for _ in range(1000)]
    assert 10 * (1 - SPREAD) <= min(periods) < 9 < 11 < max(periods) <= 10 * (1 + SPREAD)


class Night:
    """A clock on the wall, and a sleep during which the machine may be suspended."""

    def __init__(self, suspended: dict[int, float]) -> None:
        self.now = 1000.0
        self.slept = 0.0
        self._suspended = suspended
        self._ticks = 0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += seconds + self._suspended.get(self._ticks, 0.0)
        self._ticks += 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("suspended", "jumped", "slept"),
    [
        ({}, False, 30.0),
        ({0: JUMP - 1}, False, 30.0),
        ({1: 3600.0}, True, 2 * TICK),
        ({1: -3600.0}, True, 2 * TICK),
    ],
)
async def test_a_pause_ends_when_the_machine_wakes_up(
    suspended: dict[int, float], jumped: bool, slept: float
) -> None:
    night = Night(suspended)
    assert await pause(30.0, night.clock, night.sleep) is jumped
    assert night.slept == slept
