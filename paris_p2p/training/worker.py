"""The training process: a job file in, one JSON object a line out, no network.

    python -m paris_p2p.training.worker JOB.json

Lines have an "event": "phase" (what is done besides steps, and how far), "checking" (the state to
start from is read and measured), "progress" (about one a second), "snapshot", "checkpoint",
"resume", "done", or, as the last, "error" with its message and remedy, or "refuted" when the error
is about the state to start from. On SIGINT, SIGTERM or the
end of a pipe on standard input (the parent is gone) the worker finishes its step, writes one of
each file, and exits 0. Human-readable logs go to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from paris_p2p.errors import ParisError, TrainingDiverged, UsageProblem, WorkerDied
from paris_p2p.files import locked, sweep_partial_files
from paris_p2p.training.job import Job, StartRefuted
from paris_p2p.training.offline import forbid_network
from paris_p2p.training.phases import Voice
from paris_p2p.training.watch import paced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paris_p2p.training.phases import Tell
    from paris_p2p.training.trainer import Progress, Stop

log = logging.getLogger(__name__)

PROGRESS_INTERVAL: Final = 1.0
"""Seconds between two progress lines."""

LOCK_NAME: Final = "lock"
"""Lock file in the job's folder, held by one worker at a time."""

ONE_AT_A_TIME: Final = threading.Lock()
"""Held while a line is written: phases are repeated by a thread of their own."""

LOSS_WINDOW: Final = 100
"""Steps whose mean is the reported training loss."""


def main(arguments: list[str]) -> int:
    """Run one job. Returns 0, or the exit code of the error in the last line."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    stop = stop_requests()
    forbid_network()
    try:
        if len(arguments) != 1:
            raise UsageProblem("a worker takes exactly one job file", "give the path of a JOB.json")
        work(Path(arguments[0]), stop)
    except ParisError as error:
        return _tell_error(error)
    except Exception as error:
        from paris_p2p.model.out_of_memory import out_of_memory

        if not out_of_memory(error):
            raise
        log.exception("memory ran out")
        return _tell_error(
            WorkerDied(
                "this machine does not have enough free memory to train",
                "Close other programs, or train on a bigger machine",
            )
        )
    return 0


def work(job_file: Path, stop: threading.Event) -> None:
    """Train as the file says and report it. torch is first imported here."""
    job = Job.read(job_file)
    voice = Voice(lambda phase, done, total: emit("phase", phase=phase, done=done, total=total))
    job.out_dir.mkdir(parents=True, exist_ok=True)
    reporter = Reporter()
    with voice.beating(), alone_in(job.out_dir):
        steps = _steps(job, stop.is_set, voice.tell)
        if not job.from_scratch:
            emit("checking", step=job.start_step)
        for progress in paced(steps, job.duty_cycle, stop.wait):
            reporter.tell(progress)
            voice.stepped()
    reporter.finish()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a job's folder against a second worker. HomeBusy names the worker that holds it.

    Files that a killed worker left half written are removed.
    """
    remedy = "Wait until it has saved its snapshot, or end that process"
    with locked(folder / LOCK_NAME, f"the training folder {folder}", remedy):
        sweep_partial_files(folder)
        yield


def stop_requests() -> threading.Event:
    """Set by the first SIGINT, SIGTERM or end of the parent's pipe."""
    stop = threading.Event()
    for request in (signal.SIGINT, signal.SIGTERM):
        signal.signal(request, lambda *_: stop.set())
    if _is_pipe(sys.stdin.fileno()):
        threading.Thread(target=_await_end, args=(sys.stdin.fileno(), stop), daemon=True).start()
    return stop


def emit(event: str, **details: Any) -> None:
    """Write one line to standard output at once. It is no error if the parent stopped reading.

    TrainingDiverged for a figure that is not finite, which JSON cannot express.
    """
    try:
        line = json.dumps({"event": event, **details}, allow_nan=False)
    except ValueError as error:
        raise TrainingDiverged("a figure of the training is no longer finite") from error
    try:
        with ONE_AT_A_TIME:
            print(line, flush=True)
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


class Reporter:
    """Turns steps into lines, but not every step into one."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=LOSS_WINDOW)
        self._told = -PROGRESS_INTERVAL
        self._last: dict[str, Any] = {}

    def tell(self, progress: Progress) -> None:
        """The lines for this step."""
        self._losses.append(progress.loss)
        self._last = {
            "step": progress.step,
            "images": progress.images,
            "train_loss": fmean(self._losses),
        }
        if time.monotonic() - self._told >= PROGRESS_INTERVAL:
            self._told = time.monotonic()
            emit("progress", **self._last, images_per_second=progress.images_per_second)
        if progress.snapshot is not None:
            emit("snapshot", **self._last, path=str(progress.snapshot))
        if progress.checkpoint is not None:
            self._last["held_out_loss"] = progress.held_out_loss
            emit("checkpoint", **self._last, path=str(progress.checkpoint))
        if progress.resume is not None:
            emit("resume", **self._last, path=str(progress.resume))

    def finish(self) -> None:
        """The last line of a job that ended normally, with the last step's figures, if any."""
        emit("done", **self._last)


def _steps(job: Job, stop: Stop, tell: Tell) -> Iterator[Progress]:
    import torch

    from paris_p2p.records.run import ROUTER
    from paris_p2p.training.expert import train_expert
    from paris_p2p.training.router import train_router

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    train_slot = train_router if job.slot == ROUTER else train_expert
    return train_slot(job, stop, tell)


def _tell_error(error: ParisError) -> int:
    """The last line; returns the exit code."""
    event = "refuted" if isinstance(error, StartRefuted) else "error"
    emit(event, message=error.message, remedy=error.remedy, exit_code=error.exit_code)
    return error.exit_code


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _await_end(descriptor: int, stop: threading.Event) -> None:
    while os.read(descriptor, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
