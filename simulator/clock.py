"""An asyncio event loop whose time jumps to the next timer, so that an hour takes seconds.

Time jumps only while nothing outside the loop can wake it. It stands still while a job runs in an
executor, as if disks and hashes took no time. While a child process or an open socket or pipe may
speak, time passes as it does outside.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

Result = TypeVar("Result")

RESOLUTION = 1e-6
"""Seconds by which two timers may differ and still fire together: float rounding."""


class NothingLeft(RuntimeError):
    """A deadlock: all tasks wait for each other, and no timer is left."""


class Endless(RuntimeError):
    """Timers went off for longer than anything should take."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """Runs callbacks in the order of their times, and waits only for the world outside.

    A thread that is no executor's cannot wake it. Its time begins at 0.

    Parameters
    ----------
    longest : seconds of its time after which it raises Endless.
    """

    def __init__(self, longest: float = math.inf) -> None:
        self._now = 0.0
        self._longest = longest
        self._jobs = 0
        self._children: set[asyncio.SubprocessTransport] = set()
        super().__init__(_Jump(self))
        self._clock_resolution = RESOLUTION

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
        if self._now > self._longest:
            raise Endless(f"{self._longest:g} s have passed, and these wait: {self.waiting()}")

    def waiting(self) -> str:
        """What its tasks wait for, and where."""
        return ", ".join(sorted(map(repr, asyncio.all_tasks(self))))

    def has_jobs(self) -> bool:
        """Whether an executor is at work for it."""
        return self._jobs > 0

    def has_children(self) -> bool:
        self._children = {child for child in self._children if child.get_returncode() is None}
        return bool(self._children)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Result], *args: Any
    ) -> asyncio.Future[Result]:
        job: asyncio.Future[Result] = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        job.add_done_callback(self._job_ended)
        return job

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._jobs += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._jobs -= 1

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        child, protocol = await super().subprocess_exec(*args, **options)
        self._children.add(child)
        return child, protocol

    def _job_ended(self, _: asyncio.Future[Any]) -> None:
        self._jobs -= 1


class _Jump(selectors.DefaultSelector):
    """The loop's selector: where the loop would wait for nobody outside, it advances the clock."""

    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._loop.has_jobs():
            return super().select()
        if len(self.get_map()) > 1 or self._loop.has_children():  # one is the loop's own
            return self._wait(timeout)
        if timeout is None:
            raise NothingLeft(f"no timer is left, and these wait: {self._loop.waiting()}")
        self._loop.advance(max(0.0, timeout))
        return []

    def _wait(self, timeout: float | None) -> list[Any]:
        began = time.monotonic()
        ready: list[Any] = super().select(timeout)
        self._loop.advance(time.monotonic() - began)
        return ready


def run_virtually(main: Coroutine[Any, Any, Result]) -> Result:
    """The result of `main`, run from time 0 on a loop of its own."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)
