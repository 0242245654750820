"""What an attack is, and the loop that carries out many of them."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from .mutate import Mutator

HANG = 60.0
"""Seconds without an end after which an input counts as a hang, on however busy a machine."""

SLOW = 5.0
"""Seconds of processor time one input may take."""

Attack = Callable[[Mutator], None]
"""Makes one input and has it read. Raises for whatever the reader should not have done."""

AsyncAttack = Callable[[Mutator], Awaitable[None]]


@dataclass(frozen=True)
class Target:
    """One reader under attack."""

    name: str
    weight: int
    """How many inputs of a thousand it gets."""
    attack: Attack


class Finding(AssertionError):
    """An input did what none may do."""


class Hang(Exception):
    """An input has not come to an end."""


def run(target: Target, seed: int, numbers: Iterator[int] | range) -> int:
    """Carry out these attacks on one target; returns how many. Raises `Finding` at the first
    input that is not refused as declared, takes too long or never ends."""
    done = 0
    for number in numbers:
        began = time.process_time()
        try:
            with _alarm(HANG):
                target.attack(Mutator(random.Random(f"{seed}/{target.name}/{number}")))
        except Exception as error:
            raise Finding(f"{target.name}, seed {seed}, input {number}: {error!r}") from error
        if (spent := time.process_time() - began) > SLOW:
            raise Finding(f"{target.name}, seed {seed}, input {number}: took {spent:.1f} s")
        done += 1
    return done


def on_loop(loop: asyncio.AbstractEventLoop, attack: AsyncAttack) -> Attack:
    """An attack that needs an event loop."""
    return lambda mutator: loop.run_until_complete(_awaited(attack, mutator))


async def _awaited(attack: AsyncAttack, mutator: Mutator) -> None:
    await attack(mutator)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
