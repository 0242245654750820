"""Periodic work, with pauses that notice a jump of the clock.

A failed round is logged, and the next one begins as usual. Periods vary by +-20%, so that peers
that were started together do not act together.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

from paris_p2p.errors import ParisError

log = logging.getLogger(__name__)

SPREAD = 0.2
"""How much a period varies in both directions, as a share of it."""

TICK = 5.0
"""Seconds after which a pause checks the wall clock."""

JUMP = 15.0
"""Seconds by which clock and pause differ if the machine slept or the clock was set."""


async def repeat(
    period: float,
    action: Callable[[], Awaitable[None]],
    rng: random.Random,
    first: float | None = None,
) -> None:
    """Attempt `action` every `period` seconds (+-20%) until cancelled.

    `first` is the wait before the first attempt, if different.
    """
    wait = period if first is None else first
    while True:
        await pause(spread(wait, rng))
        await attempt(action)
        wait = period


def spread(period: float, rng: random.Random) -> float:
    """A period, varied by up to 20% in both directions."""
    return period * rng.uniform(1 - SPREAD, 1 + SPREAD)


async def attempt(action: Callable[[], Awaitable[None]]) -> None:
    """Run `action` once and log a failure: one line if expected, else a traceback."""
    try:
        await action()
    except (ParisError, TimeoutError, OSError) as error:
        log.warning("%s", error)
    except Exception:
        named = action.func if isinstance(action, partial) else action  # arguments may be secret
        log.exception("%s failed and is tried again", named)


async def pause(
    seconds: float,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> bool:
    """Sleep for `seconds` of wall-clock time. True when that clock jumped meanwhile.

    asyncio's own clock stands still while a machine is suspended, so a plain sleep would go on for
    its full time afterwards. A jump ends the pause within TICK seconds of waking up.
    """
    left = seconds
    while left > 0:
        step, began = min(TICK, left), clock()
        await sleep(step)
        left -= step
        if abs(clock() - began - step) > JUMP:
            return True
    return False
