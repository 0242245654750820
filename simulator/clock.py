"""An asyncio event loop whose time jumps to the next timer, so that an hour takes seconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

RESOLUTION = 1e-6
"""Seconds by which two timers may differ and still fire together: float rounding."""


class NothingLeft(RuntimeError):
    """A deadlock: all tasks wait for each other, and no timer is left."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs callbacks in the order of their times, without waiting. Has no file descriptors."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jump(self))
        self._clock_resolution = RESOLUTION

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _Jump(selectors.SelectSelector):
    """Stands in for the loop's selector: it advances the clock instead of waiting for input."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise NothingLeft("no timer is left")
        self._loop.jump(max(0.0, timeout))
        return []


def run_virtually(main: Coroutine[Any, Any, Result]) -> Result:
    """The result of `main`, run from time 0 on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
