"""The sampling process as its parent sees it, with a stand-in that needs no torch."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from paris_p2p import child
from paris_p2p.errors import WorkerDied
from paris_p2p.peer.sampling import worker_handle
from paris_p2p.peer.sampling.worker_handle import Sampler, SamplingProcess, Senseless
from tests.peer.worlds import eventually

pytestmark = pytest.mark.process

SCRIPT = """
import json, os, signal, sys
def say(**message): print(json.dumps(message), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    job = message.get("job", {})
    match job.get("do"):
        case "draw": say(event="sampled", images=[])
        case "die": os.kill(os.getpid(), signal.SIGKILL)
        case "end": sys.exit(3)
        case "babble": print("x" * 5000, flush=True)
        case "stammer": print("{", flush=True)
        case "count": print("17", flush=True)
        case "ask": say(ask="heads", slot=0)
        case "work": say(event="loading")
    if "answer" in message: say(event="error", **message["answer"]["error"])
    if "stop" in message and os.environ.get("DEAF") is None:
        say(event="sampling", step=1); say(event="error", message="stopped", exit_code=130)
"""


@pytest.fixture
async def sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sampler]:
    monkeypatch.setattr(child, "command", lambda *_: [sys.executable, "-c", SCRIPT])
    monkeypatch.setattr(worker_handle, "MAX_LINE", 4096)
    made = Sampler(tmp_path / "peer.log")
    yield made
    await made.close()


async def do(process: SamplingProcess, what: str) -> dict[str, Any]:
    await process.begin({"id": what, "do": what})
    return await process.hear()


async def turn(sampler: Sampler, what: str) -> tuple[int, dict[str, Any]]:
    async with sampler.turn() as process:
        return process.pid, await do(process, what)


async def test_one_process_does_one_job_after_the_other(sampler: Sampler) -> None:
    order: list[int] = []

    async def draw(number: int) -> int:
        async with sampler.turn() as process:
            order.append(number)
            assert (await do(process, "draw"))["event"] == "sampled"
            order.append(number)
            return process.pid

    pids = await asyncio.gather(*(draw(number) for number in range(4)))
    assert len(set(pids)) == 1
    assert order == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("die", r"was killed \(SIGKILL, as a system out of memory does\)"),
        ("end", "ended with code 3"),
    ],
)
async def test_a_process_that_dies_fails_its_job_and_the_next_one_starts_another(
    sampler: Sampler, what: str, words: str
) -> None:
    first, _ = await turn(sampler, "draw")
    with pytest.raises(WorkerDied, match=words):
        await turn(sampler, what)
    second, _ = await turn(sampler, "draw")
    assert first != second


async def test_one_that_dies_between_two_jobs_fails_none(sampler: Sampler) -> None:
    first, _ = await turn(sampler, "draw")
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: sampler.process is None or not sampler.process.alive)
    second, _ = await turn(sampler, "draw")
    assert first != second


@pytest.mark.parametrize("what", ["babble", "stammer", "count"])
async def test_one_that_says_what_it_never_should_is_ended(sampler: Sampler, what: str) -> None:
    with pytest.raises(Senseless):
        await turn(sampler, what)
    assert sampler.process is None


async def test_one_that_says_nothing_is_ended(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_handle, "SILENCE", 0.1)
    with pytest.raises(WorkerDied, match="did not answer"):
        await turn(sampler, "nothing")
    assert sampler.process is None


@pytest.mark.parametrize("what", ["work", "ask"])
async def test_a_job_that_is_left_is_stopped_and_the_process_stays(
    sampler: Sampler, what: str
) -> None:
    left, _ = await turn(sampler, what)
    again, message = await turn(sampler, "draw")
    assert (left, message["event"]) == (again, "sampled")


async def test_where_a_job_that_is_left_does_not_stop_the_process_is_ended(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEAF", "1")
    monkeypatch.setattr(worker_handle, "STOP_PATIENCE", 0.1)
    left, _ = await turn(sampler, "work")
    again, _ = await turn(sampler, "draw")
    assert left != again


async def test_one_that_idles_gives_its_memory_back(sampler: Sampler) -> None:
    sampler._idle = 0.05
    pid, _ = await turn(sampler, "draw")
    await eventually(lambda: not psutil.pid_exists(pid))


async def test_one_gives_way_when_asked_but_not_in_the_middle_of_a_job(sampler: Sampler) -> None:
    async with sampler.turn() as process:
        await sampler.give_way()
        assert (await do(process, "draw"))["event"] == "sampled"
    await sampler.give_way()
    assert not psutil.pid_exists(process.pid)
