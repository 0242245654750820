"""The training process as its parent sees it: a job file in, events out, stopped gently."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paris_p2p.errors import WorkerDied, error_from
from paris_p2p.files import write_atomically
from paris_p2p.peer.worker_process import spawn_worker
from paris_p2p.records.claim import LONGEST_STALL
from paris_p2p.training.job import StartRefuted

Event = dict[str, Any]

MAX_LINE = 1 << 20
STOP_PATIENCE = 120.0
"""Seconds that a worker has to write its snapshot and checkpoint before it is killed."""

SILENCE = LONGEST_STALL
"""Seconds without a line after which a worker counts as frozen. Its lease has lapsed by then."""

CRASHES = frozenset({signal.SIGSEGV, signal.SIGFPE})
"""Signals that bad input can cause. Others come from outside, or from a machine without memory."""


class WorkerCrashed(WorkerDied):
    """The training process crashed by itself, perhaps because of the file that it read."""


class WorkerFroze(WorkerDied):
    """The training process was silent for too long and was killed."""


@dataclass
class Worker:
    """One training process. It may be asked to stop before, while and after it runs."""

    log_file: Path
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _stopping: bool = field(default=False, init=False)
    _limit: asyncio.Timeout | None = field(default=None, init=False)

    @property
    def stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Ask for an end after the current step, with a snapshot and a checkpoint.

        The signal is the end of its standard input. The process sees it however early it comes.
        """
        if not self._stopping and self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + STOP_PATIENCE)
        self._stopping = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def run(self, job: Event) -> AsyncGenerator[Event]:
        """The events of one job, until the process has ended.

        Raises the error that the worker reports, StartRefuted if its cause is the job's start, and
        WorkerDied if the process fails without a report.
        """
        if self._stopping:
            return
        job_file = Path(job["out_dir"]) / "job.json"
        write_atomically(job_file, json.dumps(job).encode())
        self._process = await _spawn(job_file, self.log_file)
        if self._stopping:
            self.stop()
        try:
            async for event in self._events(self._process):
                yield event
            code = await self._process.wait()
        finally:
            await _end(self._process)
        if code != 0:
            raise _death(code, self._remedy)

    async def _events(self, process: asyncio.subprocess.Process) -> AsyncGenerator[Event]:
        while line := await self._line(process):
            event: Event = json.loads(line)
            if event["event"] == "error":
                raise error_from(event)
            if event["event"] == "refuted":
                raise StartRefuted(event["message"], event["remedy"])
            yield event

    async def _line(self, process: asyncio.subprocess.Process) -> bytes:
        """The next line; b"" at the end. A process that is silent too long is killed."""
        assert process.stdout is not None
        try:
            async with asyncio.timeout(STOP_PATIENCE if self._stopping else SILENCE) as limit:
                self._limit = limit
                return await process.stdout.readline()
        except TimeoutError as error:
            process.kill()
            raise WorkerFroze("the training process did not answer", self._remedy) from error
        finally:
            self._limit = None

    @property
    def _remedy(self) -> str:
        return (
            f"Its last output is in {self.log_file}; the same command resumes from the last "
            "snapshot"
        )


def _death(code: int, remedy: str) -> WorkerDied:
    """The error for a process that ended with this code, or with minus the number of a signal."""
    if code >= 0:
        return WorkerDied(f"the training process ended with code {code}", remedy)
    by = signal.Signals(-code)
    if by in CRASHES:
        return WorkerCrashed(f"the training process crashed ({by.name})", remedy)
    why = ", as a system out of memory does" if by == signal.SIGKILL else ""
    return WorkerDied(f"the training process was killed ({by.name}{why})", remedy)


async def _spawn(job_file: Path, log_file: Path) -> asyncio.subprocess.Process:
    """Start the process. End of file on its standard input tells it to stop."""
    return await spawn_worker(
        "paris_p2p.training.worker", str(job_file), log_file=log_file, longest_line=MAX_LINE
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind: ask it to stop, wait, then kill it."""
    if process.returncode is not None:
        return
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_PATIENCE):
            await process.stdout.read()
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
