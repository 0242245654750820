"""The sampling process as its parent sees it: started when needed, kept warm, ended when idle.

It computes with strangers' weights. So its lines are limited in size, and `answers` and
`sampling_job` check them. Its protocol is described in `paris_p2p.sampling.worker`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from paris_p2p.errors import Interrupted, ParisError, WorkerDied, error_event
from paris_p2p.peer.worker_process import spawn_worker

log = logging.getLogger(__name__)

Message = dict[str, Any]

MAX_LINE: Final = 8 << 20
"""Most bytes of a line: it may hold the origins of 256 images."""
SILENCE: Final = 600.0
"""Most seconds without a line: a first import, or one step of large networks."""
STOP_PATIENCE: Final = 5.0
"""Seconds that it has to leave a stopped job."""
IDLE: Final = 300.0
"""Seconds without a job after which the process is ended to free its memory."""

ENDS: Final = frozenset({"sampled", "exported", "imported", "error"})
"""The last events of jobs."""

REMEDY = "The same command starts another one"


class Senseless(WorkerDied):
    """The sampling process sent a malformed or forbidden message, and is ended for that."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the sampling process was ended: {what}", REMEDY)


class SamplingProcess:
    """One process. Any failure raises WorkerDied. The caller must then end the process."""

    def __init__(self, process: asyncio.subprocess.Process, log_file: Path) -> None:
        self._process = process
        self._log_file = log_file
        self._job = ""
        self.broken = False

    @classmethod
    async def start(cls, log_file: Path) -> SamplingProcess:
        process = await spawn_worker(
            "paris_p2p.sampling.worker", log_file=log_file, longest_line=MAX_LINE
        )
        return cls(process, log_file)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def begin(self, job: Message) -> None:
        self._job = job["id"]
        await self.say({"job": job})

    async def say(self, message: Message) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        with suppress(ConnectionError):  # the next read reports the end of the process
            await self._process.stdin.drain()

    async def hear(self) -> Message:
        """The next message of the process."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(SILENCE):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise WorkerDied("the sampling process did not answer", REMEDY) from error
        except ValueError as error:
            raise Senseless("its line is too long") from error
        if not line:
            raise _death(await self._process.wait(), self._log_file)
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Senseless("its line is not JSON") from error
        if not isinstance(message, dict):
            raise Senseless("its line is not a JSON object")
        if message.get("event") in ENDS:
            self._job = ""
        return message

    async def settle(self) -> None:
        """Make the process leave its current job. If it does not, mark it as broken."""
        if not self._job or self.broken:
            return
        try:
            async with asyncio.timeout(STOP_PATIENCE):
                await self.say({"stop": self._job})
                while self._job:
                    if "ask" in await self.hear():
                        stopped = Interrupted("the drawing was stopped")
                        await self.say({"answer": {"error": error_event(stopped)}})
        except (TimeoutError, ParisError):
            self.broken = True

    async def end(self) -> None:
        """Kill the process: it has nothing to save."""
        self.broken = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()


def _death(code: int, log_file: Path) -> WorkerDied:
    """The error for a process that ended with this code, or with minus the number of a signal."""
    remedy = f"{REMEDY}; the last output of this one is in {log_file}"
    if code >= 0:
        return WorkerDied(f"the sampling process ended with code {code}", remedy)
    by = signal.Signals(-code)
    why = ", as a system out of memory does" if by == signal.SIGKILL else ""
    return WorkerDied(f"the sampling process was killed ({by.name}{why})", remedy)


class Sampler:
    """The one sampling process of a peer. Jobs take turns, in the order of their requests.

    Parameters
    ----------
    idle : seconds without a job after which the process is ended.
    """

    def __init__(self, log_file: Path, idle: float = IDLE) -> None:
        self._log_file = log_file
        self._idle = idle
        self._turn = asyncio.Lock()
        self._process: SamplingProcess | None = None
        self._resting: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a new job has to wait."""
        return self._turn.locked()

    @property
    def process(self) -> SamplingProcess | None:
        """The running process, if there is one."""
        return self._process

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[SamplingProcess]:
        """The process for one job. An unfinished job is stopped, or else the process is ended."""
        async with self._turn:
            if self._resting is not None:
                self._resting.cancel()
            process = self._process
            if process is None or not process.alive:
                process = self._process = await SamplingProcess.start(self._log_file)
            try:
                yield process
            except WorkerDied:
                process.broken = True
                raise
            finally:
                await process.settle()
                if process.broken:
                    await self._end()
                else:
                    self._resting = asyncio.create_task(self._rest())

    async def give_way(self) -> None:
        """End the process to free its memory, unless a job runs."""
        if not self.busy:
            async with self._turn:
                await self._end()

    async def close(self) -> None:
        """End the process, even during a job."""
        if self._resting is not None:
            self._resting.cancel()
        await self._end()

    async def _rest(self) -> None:
        await asyncio.sleep(self._idle)
        await self.give_way()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()
