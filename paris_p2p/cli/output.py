"""Output of long work: bars on a terminal, plain lines in a pipe, JSON lines with --json.

Output never ends the work: what standard output does not take is dropped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from paris_p2p.cli.terminal import Enduring, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Event = Mapping[str, Any]
PLAIN_PERIOD = 5.0
"""Seconds between two plain lines about the same wait."""


class Reporter(Protocol):
    """Shows the events of one command as they come."""

    def say(self, line: str, event: Event) -> None:
        """Report an event: `line` for people, `event` for programs."""

    def wait(self, label: str, done: float, total: float | None, event: Event) -> None:
        """Report that the wait `label` is at `done` of `total` (None: no known end)."""


@contextmanager
def reporting(as_json: bool) -> Iterator[Reporter]:
    """The reporter for this standard output."""
    if as_json:
        yield JsonLines()
    elif sys.stdout.isatty():
        with _bars() as progress:
            progress.console.show_cursor(True)  # a process killed now leaves the terminal whole
            yield Bars(progress)
    else:
        yield PlainLines()


class JsonLines:
    """Every event as one JSON object a line."""

    def __init__(self, out: Enduring | None = None) -> None:
        self._out = out or Enduring(sys.stdout)

    def say(self, line: str, event: Event) -> None:
        self._out.say_json(event)

    def wait(self, label: str, done: float, total: float | None, event: Event) -> None:
        self._out.say_json(event)


class PlainLines:
    """Lines without control characters. A wait gets a line at most every `period` seconds."""

    def __init__(self, out: Enduring | None = None, period: float = PLAIN_PERIOD) -> None:
        self._out = out or Enduring(sys.stdout)
        self._period = period
        self._began: dict[str, float] = {}
        self._spoke: dict[str, float] = {}

    def say(self, line: str, event: Event) -> None:
        self._out.say(line)

    def wait(self, label: str, done: float, total: float | None, event: Event) -> None:
        now = time.monotonic()
        kind = _wait_of(event)
        elapsed = now - self._began.setdefault(kind, now)
        if now - self._spoke.get(kind, now - self._period) >= self._period:
            self._spoke[kind] = now
            share = f"  {100 * done / total:.0f}%" if total else ""
            self._out.say(f"{label}{share}{_remaining(elapsed, done, total)}")


def _wait_of(event: Event) -> str:
    """The key of a wait: each content has its own."""
    return str(event.get("content", event.get("event")))


def _remaining(elapsed: float, done: float, total: float | None) -> str:
    """The remaining time of a wait at its rate so far; "" when it is not known."""
    if not total or not 0 < done < total or elapsed < 1:
        return ""
    seconds = round(elapsed * (total - done) / done)
    return f"  {seconds // 60}:{seconds % 60:02d} left"


class Bars:
    """One live bar for each wait, with lines above the bars."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def say(self, line: str, event: Event) -> None:
        self._progress.console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    def wait(self, label: str, done: float, total: float | None, event: Event) -> None:
        kind, label = _wait_of(event), printable(label)
        if kind not in self._tasks:
            self._tasks[kind] = self._progress.add_task(label, total=total)
        self._progress.update(self._tasks[kind], description=label, completed=done, total=total)


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(compact=True),
        console=Console(file=cast("IO[str]", Enduring(sys.stdout))),
    )
