"""Jobs: long-running work whose events any client may follow, now or later.

A job runs as its own task and writes its events to a log of bounded length. Each follower reads
the log at its own pace, so a slow or leaving follower neither delays nor ends the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final, Protocol

from paris_p2p.errors import NotAvailable, ParisError, Unreachable, UsageProblem

log = logging.getLogger(__name__)

Event = dict[str, Any]

PROGRESS: Final = frozenset(
    {
        "queued",
        "looking",
        "fetching",
        "checking",
        "phase",
        "progress",
        "snapshot",
        "loading",
        "sampling",
        "exporting",
        "importing",
    }
)
"""Events that report progress. A newer one about the same thing replaces the older one."""

MOST_EVENTS: Final = 512
"""Events of a job that are kept."""

MOST_RUNNING: Final = 64
MOST_ENDED: Final = 16
"""Most jobs that run at a time, and most ended jobs that are kept for later questions."""


class EventLog:
    """The events of one job, numbered from 1, without those that newer progress replaced."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self._most = most
        self._events: dict[int, Event] = {}
        self._progress: dict[tuple[Any, ...], int] = {}
        self.newest = 0
        """Number of the newest event; 0 if there is none."""

    def add(self, event: Event) -> None:
        self.newest += 1
        if event["event"] in PROGRESS:
            about = (event["event"], event.get("content"))
            self._events.pop(self._progress.pop(about, 0), None)
            self._progress[about] = self.newest
        self._events[self.newest] = event
        if len(self._events) > self._most:
            del self._events[next(iter(self._events))]

    def after(self, number: int) -> list[tuple[int, Event]]:
        """The events after the one with that number, oldest first."""
        later: list[tuple[int, Event]] = []
        for entry in reversed(self._events.items()):
            if entry[0] <= number:
                break
            later.append(entry)
        return later[::-1]


class Work(Protocol):
    """The work of a job. Its events are flat JSON-able dictionaries with an "event" name."""

    id: str
    run_id: bytes
    """The run that the job belongs to."""

    @property
    def slot(self) -> int | None:
        """The slot that the job works on, once it is known."""

    def events(self) -> AsyncGenerator[Event]:
        """Do the work. Errors are raised."""

    def stop(self) -> None:
        """Ask for a clean end."""


class Job:
    """One piece of work, from its start on."""

    def __init__(self, kind: str, work: Work, clock: Callable[[], float]) -> None:
        self.id = work.id
        self.kind = kind
        self.work = work
        self.error: ParisError | None = None
        """The error that the job failed with."""
        self.started = clock()
        self.ended: float | None = None
        """Unix seconds; None while the job runs."""
        self._clock = clock
        self._log = EventLog()
        self._stopping = False
        self._news = asyncio.Event()
        self._last: Event = {}

    @property
    def outcome(self) -> str | None:
        """ "done", "stopped" or "failed"; None while the job runs."""
        if self.ended is None:
            return None
        if self.error is not None:
            return "failed"
        return "stopped" if self._stopping else "done"

    @property
    def last(self) -> Event:
        """The newest event; empty if there is none."""
        return self._last

    @property
    def slot(self) -> int | None:
        return self.work.slot

    @property
    def newest(self) -> int:
        """The number of the newest event."""
        return self._log.newest

    def stop(self) -> None:
        """Ask for a clean end. A job that has ended ignores it."""
        if self.ended is None:
            self._stopping = True
            self.work.stop()

    async def follow(self, after: int = 0) -> AsyncGenerator[tuple[int, Event]]:
        """The numbered events after number `after`, as they come, until the job ends.

        Raises the error that the job failed with.
        """
        after = min(after, self.newest)
        while True:
            news = self._news
            for number, event in self._log.after(after):
                after = number
                yield number, event
            if news is self._news:
                if self.ended is not None:
                    break
                await news.wait()
        if self.error is not None:
            raise self.error

    async def run(self) -> None:
        try:
            async with aclosing(self.work.events()) as events:
                async for event in events:
                    self._last = event
                    self._log.add(event)
                    self._wake()
        except ParisError as error:
            self.error = error
        except Exception as error:
            log.exception("the %s job %s failed", self.kind, self.id)
            self.error = ParisError(
                f"{self.kind} failed: {error!r}", "The peer's log says where; try again"
            )
        finally:
            self.ended = self._clock()
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Jobs:
    """The jobs of one peer: the running ones, and the last ones that ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._ended: list[Job] = []
        self._closed = False

    def begin(self, kind: str, work: Work) -> Job:
        """Begin a job. Unreachable once the peer is leaving, UsageProblem beyond MOST_RUNNING."""
        if self._closed:
            raise Unreachable("the peer of this home is leaving", "Run the command again")
        if len(self._running) >= MOST_RUNNING:
            raise UsageProblem(f"this peer has {MOST_RUNNING} jobs already", "wait until one ends")
        job = Job(kind, work, self._clock)
        task = self._running[job] = asyncio.create_task(job.run())
        task.add_done_callback(lambda _: self._retire(job))
        return job

    def all(self) -> list[Job]:
        """The ended jobs, then the running ones, each in the order of their end or start."""
        return [*self._ended, *self._running]

    def running(self) -> list[Job]:
        return [job for job in self._running if job.ended is None]

    def named(self, identifier: str) -> Job:
        """The job with that id. NotAvailable if there is none."""
        for job in self.all():
            if job.id == identifier:
                return job
        raise NotAvailable(
            f"this peer has no job {identifier[:32]!r}", "It may have ended long ago; list all jobs"
        )

    def close(self) -> None:
        """Refuse new jobs, and ask the running ones to stop."""
        self._closed = True
        for job in self._running:
            job.stop()

    async def ended(self) -> None:
        """Wait until no job runs."""
        if self._running:
            await asyncio.wait(self._running.values())

    def _retire(self, job: Job) -> None:
        del self._running[job]
        self._ended = [*self._ended, job][-MOST_ENDED:]
