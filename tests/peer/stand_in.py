"""A stand-in for the training process: the same files and lines, no torch, no time."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from paris_p2p.peer.training import worker_handle

SCRIPT = """
import json, pathlib, sys
job = json.loads(pathlib.Path(sys.argv[1]).read_text())
folder = pathlib.Path(job["out_dir"])
def tell(**event): print(json.dumps(event), flush=True)
def fail(message, exit_code, event="error"):
    tell(event=event, message=message, remedy="", exit_code=exit_code)
    sys.exit(exit_code)
def write(kind, content):
    path = folder / f"{kind}-{step:09d}.safetensors"
    path.write_bytes(content)
    figures = dict(step=step, images=2 * step, train_loss=0.5, path=str(path))
    tell(event=kind, **figures, **({"held_out_loss": 0.4} if kind == "checkpoint" else {}))
def train():
    tell(event="progress", step=step, images=2 * step, train_loss=0.5, images_per_second=9.0)
    write("checkpoint", b"weights at step %d" % step)
    write("resume", b"state at step %d" % step)
given = [job[name] for name in ("start_from", "resume_state", "resume_snapshot") if job[name]]
content = pathlib.Path(given[0]).read_bytes() if given else b""
if content == b"poison":
    fail("tensor x is missing", 4, "refuted")
if content == b"explosive":
    fail("the loss exploded", 11)
if job["max_steps"] == 13:
    sys.exit(13)
step = job["start_step"] + 1
train()
if job["max_steps"] is None:
    sys.stdin.read()
    step += 1
    train()
tell(event="done")
"""
"""One step; without a limit of steps, another one when it is told to stop."""


def install(monkeypatch: pytest.MonkeyPatch, script: str = SCRIPT) -> None:
    """Let every job of this process be done by `script`."""

    async def spawn(job_file: Path, log_file: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            script,
            str(job_file),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    monkeypatch.setattr(worker_handle, "_spawn", spawn)
