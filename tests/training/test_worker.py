from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.errors import BadContent, TrainingDiverged, WorkerDied
from paris_p2p.training import worker
from paris_p2p.training.job import Job
from paris_p2p.training.worker import emit, work

from .jobs import RunFiles, as_json

pytestmark = pytest.mark.process

Event = dict[str, Any]
WORKER = [sys.executable, "-m", "paris_p2p.training.worker"]

SEVERAL = """
import sys
from paris_p2p.training import worker
sys.exit(max([worker.main([job]) for job in sys.argv[1:]]))
"""
"""One job after the other: torch takes seconds to load."""

LOOK_INSIDE = """
import socket, sys
from paris_p2p.training import worker
code = worker.main(sys.argv[1:])
assert code == 0, code
forbidden = ("hivemind", "paris_p2p.network", "paris_p2p.peer", "paris_p2p.store")
slow = ("scipy", "diffusers.loaders", "diffusers.hooks")
assert not [name for name in sys.modules if name.startswith((*forbidden, *slow))]
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: socket.socket().connect(("127.0.0.1", 9)),
    lambda: socket.socket().bind(("127.0.0.1", 0)),
    lambda: socket.getaddrinfo("localhost", 80),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
):
    try:
        attempt()
    except PermissionError as error:
        assert "offline by design" in str(error)
    else:
        raise AssertionError("the network was reached")
print("nothing got out")
"""


def write_job(job: Job) -> str:
    path = job.out_dir / "job.json"
    path.write_text(json.dumps(as_json(job)))
    return str(path)


def events_of(output: str) -> list[Event]:
    return [json.loads(line) for line in output.splitlines()]


@contextmanager
def a_worker(*jobs: Job) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SEVERAL, *map(write_job, jobs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], event: str) -> Event:
    assert process.stdout is not None
    for line in process.stdout:
        told: Event = json.loads(line)
        if told["event"] == event:
            return told
    raise AssertionError(f"the worker ended without a {event}")


@pytest.mark.slow
def test_it_trains_with_the_network_forbidden_and_imports_none_of_it(run: RunFiles) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK_INSIDE, write_job(run.job())],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "nothing got out"
    events = [e for e in events_of("\n".join(lines)) if e["event"] != "phase"]
    assert events[0].keys() >= {"event", "step", "images", "train_loss", "images_per_second"}
    assert [e["step"] for e in events if e["event"] == "snapshot"] == [3, 6]
    checkpoints = [e for e in events if e["event"] == "checkpoint"]
    assert [e["step"] for e in checkpoints] == [4, 6]
    assert Path(checkpoints[-1]["path"]).exists()
    assert [Path(e["path"]).exists() for e in events if e["event"] == "resume"] == [True]
    assert events[-1]["event"] == "done"
    assert events[-1]["held_out_loss"] == checkpoints[-1]["held_out_loss"]


@pytest.mark.slow
def test_a_signal_or_the_end_of_the_parent_lets_it_finish_its_step_and_save(run: RunFiles) -> None:
    with a_worker(run.job(slot=0, max_steps=None), run.job(slot=1, max_steps=None)) as process:
        until(process, "progress")
        process.send_signal(signal.SIGTERM)
        checkpoint = until(process, "checkpoint")
        while checkpoint["step"] % 4 == 0:  # one that was due anyway
            checkpoint = until(process, "checkpoint")
        assert Path(checkpoint["path"]).exists()
        until(process, "done")

        until(process, "progress")
        assert process.stdin is not None
        process.stdin.close()
        done = until(process, "done")
        assert process.wait() == 0
    (snapshot,) = (run.folder / "slot1").glob("snapshot-*")
    assert snapshot.name == f"snapshot-{done['step']:09d}.safetensors"


def test_bad_input_is_one_line_and_an_exit_code(run: RunFiles) -> None:
    path = run.folder / "job.json"
    path.write_text(json.dumps(as_json(run.job()) | {"shards": []}))
    ended = subprocess.run(
        [*WORKER, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 4
    (error,) = events_of(ended.stdout)
    assert error.keys() == {"event", "message", "remedy", "exit_code"}
    assert error["event"] == "error"
    assert "needs 1 of" in error["message"]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`worker.main` leaves the signals and the network of its process alone."""
    monkeypatch.setattr(worker, "stop_requests", threading.Event)
    monkeypatch.setattr(worker, "forbid_network", lambda: None)


@pytest.mark.usefixtures("in_this_process")
def test_a_start_that_is_none_is_told_apart_from_all_else(
    run: RunFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    start = run.folder / "state.safetensors"
    start.write_bytes(b"not a state")
    job = write_job(run.job(resume_state=start, start_step=9))
    assert worker.main([job]) == BadContent.exit_code
    events = events_of(capsys.readouterr().out)
    checking, refuted = [event for event in events if event["event"] != "phase"]
    assert checking == {"event": "checking", "step": 9}
    assert (refuted["event"], refuted["exit_code"]) == ("refuted", BadContent.exit_code)


def test_a_figure_that_is_not_finite_is_an_error_and_no_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(TrainingDiverged, match="finite"):
        emit("checkpoint", held_out_loss=math.nan)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried")])
def test_memory_that_runs_out_is_one_line_and_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker, "work", fail)
    assert worker.main(["job.json"]) == WorkerDied.exit_code
    (told,) = events_of(capsys.readouterr().out)
    assert told["event"] == "error" and "memory" in told["message"]


def test_a_shard_that_is_none_is_refused(run: RunFiles) -> None:
    run.shards[0].write_bytes(b"not a shard")
    with pytest.raises(BadContent):
        work(Path(write_job(run.job())), threading.Event())
