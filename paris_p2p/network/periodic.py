"""Work that is done again and again: pauses that notice a jump of the clock, and failures logged.

A failed round is logged and the next one is begun as if nothing had happened. Periods vary by
+-20%, so that peers that were started together do not act together.
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
"""How much a period varies to both sides, as a share of it."""

TICK = 5.0
"""Seconds after which a pause looks at the clock on the wall."""

JUMP = 15.0
"""Seconds that a clock gains on a pause when the machine slept meanwhile, or the clock was set."""


async def repeat(
    period: float,
    action: Callable[[], Awaitable[None]],
    rng: random.Random,
    first: float | None = None,
) -> None:
    """Attempt `action` every `period` seconds (+-20%) until cancelled.

    `first` is the wait before the first time, when it is not the same.
    """
    wait = period if first is None else first
    while True:
        await pause(spread(wait, rng))
        await attempt(action)
        wait = period


def spread(period: float, rng: random.Random) -> float:
    """A period, varied by up to 20% to both sides."""
    return period * rng.uniform(1 - SPREAD, 1 + SPREAD)


async def attempt(action: Callable[[], Awaitable[None]]) -> None:
    """Run `action` once and log what goes wrong: a line if it was foreseen, else a traceback."""
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
    """Sleep for `seconds` by the clock on the wall. True when that has jumped meanwhile.

    asyncio's own clock stands still while a machine is suspended: what is due by then would wait
    its full time again. A jump ends the pause, within TICK seconds of waking up.
    """
    left = seconds
    while left > 0:
        step, began = min(TICK, left), clock()
        await sleep(step)
        left -= step
        if abs(clock() - began - step) > JUMP:
            return True
    return False
