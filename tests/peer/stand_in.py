"""A stand-in for the training process: the same files and lines, no process, no torch, no time."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from paris_p2p.peer.training import worker_handle


class _Exit(Exception):
    """The end of a stand-in, with its code or minus the number of a signal."""


class StandIn:
    """What its parent sees of a process, and the work that goes on behind it.

    One step; without a limit of steps, another one when it is told to stop. Those of which a test
    wants something else override a method.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.folder = Path(job["out_dir"])
        self.step: int = job["start_step"]
        self.stdin, self.stdout = _Input(), asyncio.StreamReader()
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._working = asyncio.create_task(self._live())

    async def wait(self) -> int | None:
        await self._ended.wait()
        return self.returncode

    def kill(self) -> None:
        self._working.cancel()

    def tell(self, **event: Any) -> None:
        self.stdout.feed_data(json.dumps(event).encode() + b"\n")

    def fail(self, message: str, exit_code: int, event: str = "error") -> NoReturn:
        self.tell(event=event, message=message, remedy="", exit_code=exit_code)
        self.end(exit_code)

    def end(self, code: int) -> NoReturn:
        raise _Exit(code)

    async def work(self) -> None:
        kinds = ("start_from", "resume_state", "resume_snapshot")
        given = [self.job[kind] for kind in kinds if self.job[kind]]
        self.examine(Path(given[0]).read_bytes() if given else b"")
        if self.job["max_steps"] == 13:
            self.end(13)
        self.train()
        if self.job["max_steps"] is None:
            await self.stdin.closed.wait()
            self.train()
        self.tell(event="done")

    def examine(self, content: bytes) -> None:
        """End over what training starts from; b"" is from scratch."""
        if content == b"poison":
            self.fail("tensor x is missing", 4, "refuted")
        if content == b"explosive":
            self.fail("the loss exploded", 11)

    def train(self) -> None:
        self.step += 1
        figures = {"step": self.step, "images": 2 * self.step, "train_loss": 0.5}
        self.tell(event="progress", **figures, images_per_second=9.0)
        self.write("checkpoint", b"weights at step %d" % self.step, held_out_loss=0.4)
        self.write("resume", b"state at step %d" % self.step)

    def write(self, kind: str, content: bytes, **figures: float) -> None:
        path = self.folder / f"{kind}-{self.step:09d}.safetensors"
        path.write_bytes(content)
        figures |= {"step": self.step, "images": 2 * self.step, "train_loss": 0.5}
        self.tell(event=kind, path=str(path), **figures)

    async def _live(self) -> None:
        self.returncode = await self._code()
        self.stdout.feed_eof()
        self._ended.set()

    async def _code(self) -> int:
        try:
            await self.work()
        except _Exit as exit_:
            return int(exit_.args[0])
        except asyncio.CancelledError:
            return -signal.SIGKILL
        return 0


class _Input:
    """The standard input of a stand-in, whose end tells it to stop."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def close(self) -> None:
        self.closed.set()


def install(monkeypatch: pytest.MonkeyPatch, made: type[StandIn] = StandIn) -> None:
    """Let every job of this process be done by a stand-in."""

    async def spawn(job_file: Path, log_file: Path) -> asyncio.subprocess.Process:
        return cast(asyncio.subprocess.Process, made(json.loads(job_file.read_text())))

    monkeypatch.setattr(worker_handle, "_spawn", spawn)
