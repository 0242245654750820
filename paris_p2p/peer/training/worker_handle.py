"""The training process as its parent sees it: a job file in, events out, stopped gently."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paris_p2p import child
from paris_p2p.errors import WorkerDied, error_from
from paris_p2p.files import write_atomically
from paris_p2p.records.claim import LONGEST_STALL
from paris_p2p.training.job import StartRefuted

Event = dict[str, Any]

MAX_LINE = 1 << 20
STOP_PATIENCE = 120.0
"""Seconds a worker has to write its snapshot and checkpoint before it is killed."""

SILENCE = LONGEST_STALL
"""Seconds without a line after which a worker is taken for frozen: its lease lapses by then."""

CRASHES = frozenset({signal.SIGSEGV, signal.SIGFPE})
"""Signals by which a program dies of what it reads. The others come from outside, or from a machine
without memory."""


class WorkerCrashed(WorkerDied):
    """The training process broke down by itself, perhaps over the file it was reading."""


class WorkerFroze(WorkerDied):
    """The training process said nothing for so long that it had to be killed."""


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

        By the end of its standard input, which it cannot miss however early it comes.
        """
        if not self._stopping and self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + STOP_PATIENCE)
        self._stopping = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def run(self, job: Event) -> AsyncGenerator[Event]:
        """The events of one job, until the process has ended.

        Raises the error that the worker met, StartRefuted where that is about the job's start, and
        WorkerDied when it met none and did not end well.
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
        """The next line, b"" at the end. A process that is silent too long is killed."""
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
            f"Its last words are in {self.log_file}; the same command resumes from the last "
            "snapshot"
        )


def _death(code: int, remedy: str) -> WorkerDied:
    """What to say of a process that ended with this code, or minus the number of a signal."""
    if code >= 0:
        return WorkerDied(f"the training process ended with code {code}", remedy)
    by = signal.Signals(-code)
    if by in CRASHES:
        return WorkerCrashed(f"the training process crashed ({by.name})", remedy)
    why = ", as a system out of memory does" if by == signal.SIGKILL else ""
    return WorkerDied(f"the training process was killed ({by.name}{why})", remedy)


async def _spawn(job_file: Path, log_file: Path) -> asyncio.subprocess.Process:
    """The process in a session of its own, so that Ctrl-C is its parent's to pass on.

    Its standard input stays open as long as this process lives; end of file tells it to stop.
    """
    with log_file.open("ab") as words:
        return await asyncio.create_subprocess_exec(
            *child.command("paris_p2p.training.worker", str(job_file)),
            cwd=log_file.parent,
            env=child.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=words,
            limit=MAX_LINE,
            start_new_session=True,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind: ask, wait, and only then kill."""
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
