"""The training loop: a generator of steps.

AdamW without weight decay; a linear warm-up, then a constant learning rate; clipped gradients. The
exponential moving average (EMA) of the weights is measured and published. On a CPU, training that
was killed and resumed equals unbroken training bit for bit.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.optim import AdamW

from paris_p2p.errors import BadContent, TrainingDiverged
from paris_p2p.files import write_atomically
from paris_p2p.model.weights import load_into, save_weights
from paris_p2p.records.run import slot_name
from paris_p2p.training.devices import pick_device
from paris_p2p.training.job import Job, StartRefuted, check_room
from paris_p2p.training.phases import Tell, untold
from paris_p2p.training.snapshot import (
    BETAS,
    Network,
    TrainingState,
    load_snapshot,
    save_snapshot,
)
from paris_p2p.training.watch import DivergenceWatch, JobLimits, Meter
from paris_p2p.training.worth import objection

log = logging.getLogger(__name__)

CHECKPOINT_FORMAT: Final = "paris-checkpoint/1"
KEPT: Final = 2
"""Number of checkpoints, and of resume states, that stay on disk for the publisher."""

Stop = Callable[[], bool]
"""Called after every step: whether to end."""


class Task(Protocol[Network]):
    """The thing to train: a network, its number of samples, and its losses."""

    @property
    def network(self) -> Network: ...

    @property
    def samples(self) -> int: ...

    def loss(self, network: Network, rows: Tensor, generator: Generator) -> Tensor:
        """Scalar training loss of `network` on the samples `rows` (B,)."""

    def held_out_loss(self, network: Network, tell: Tell = untold) -> float:
        """Loss on held-out samples at fixed times with fixed noise: comparable between steps."""

    def clueless_loss(self) -> float:
        """Loss of an untrained network on the same samples."""


@dataclass(frozen=True)
class Progress:
    """One finished step. A path is a complete file on disk; None when none was due."""

    step: int
    images: int
    loss: float
    images_per_second: float
    held_out_loss: float | None = None
    snapshot: Path | None = None
    checkpoint: Path | None = None
    resume: Path | None = None
    """A second name of the snapshot, to be published and then removed."""


def never() -> bool:
    """A Stop that lets the job's own limits decide."""
    return False


def train(
    task: Task[Network], job: Job, stop: Stop = never, tell: Tell = untold
) -> Iterator[Progress]:
    """Train until `stop` or the job's limits. The last step writes one of each file.

    StartRefuted when the state to start from is worthless or not what it claims; TrainingDiverged
    when the loss explodes twice, or once before the first snapshot; DiskFull.
    """
    training = _Training(task, job, tell)
    if not (job.from_scratch or stop()):
        training.check_start()
    limits = JobLimits(job, training.state.step)
    done = stop() or limits.reached(training.state.step)
    while not done:
        loss = training.step()
        done = stop() or limits.reached(training.state.step)
        yield training.report(loss, last=done)


class _Training(Generic[Network]):
    """The state of one job, and the operations that change it."""

    def __init__(self, task: Task[Network], job: Job, tell: Tell) -> None:
        self._task: Task[Network] = task
        self._job = job
        self._tell = tell
        self._device = pick_device(job.device)
        self.state: TrainingState[Network] = _begin(task, job)
        self._good_snapshot = job.resume_snapshot or job.resume_state
        self._rolled_back = False
        self._watch = DivergenceWatch()
        self._meter = Meter()
        self._checkpoints: deque[Path] = deque(maxlen=KEPT)
        self._resumes: deque[Path] = deque(maxlen=KEPT)

    def check_start(self) -> None:
        """Measure the weights to start from: the EMA, which is published, and the trained ones."""
        clueless, claimed = self._task.clueless_loss(), self._job.claimed_loss
        averaged = self._task.held_out_loss(self.state.average, self._tell)
        trained = self._task.held_out_loss(self.state.network, self._tell)
        problem = objection(averaged, clueless, claimed) or objection(trained, clueless, None)
        if problem is not None:
            raise StartRefuted(f"the state at step {self.state.step} is worthless: {problem}")

    def step(self) -> float:
        """Make one step and return its loss. The first step that diverges is rolled back."""
        while True:
            try:
                return self._attempt_step()
            except TrainingDiverged:
                self._roll_back()

    def report(self, loss: float, last: bool) -> Progress:
        """Write the files that are due after this step, and report the step."""
        state, recipe = self.state, self._job.recipe
        publish = last or state.step % recipe.publish_every == 0
        resume = last or state.step % recipe.resume_every == 0
        due = resume or state.step % recipe.snapshot_every == 0
        held_out_loss = self._held_out_loss() if publish else None
        snapshot = self._save_snapshot() if due else None
        return Progress(
            step=state.step,
            images=state.images,
            loss=loss,
            images_per_second=self._meter.rate(state.images),
            held_out_loss=held_out_loss,
            snapshot=snapshot,
            checkpoint=self._save_checkpoint() if publish else None,
            resume=self._offer(snapshot) if snapshot and resume else None,
        )

    def _attempt_step(self) -> float:
        state, recipe = self.state, self._job.recipe
        rows = _next_rows(state, recipe.batch, self._task.samples)
        with torch.autocast("cuda", torch.bfloat16, enabled=self._device.type == "cuda"):
            loss = self._task.loss(state.network, rows, state.generator)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), recipe.grad_clip or math.inf)
        value = float(loss.item())
        self._watch.check(value, float(norm.item()))
        self._update()
        state.images += len(rows)
        return value

    def _update(self) -> None:
        """One AdamW step and one step of the EMA, whose decay warms up with the steps done.

        min(ema, (1 + step) / (10 + step)) keeps a short training from publishing its first weights.
        """
        state, recipe = self.state, self._job.recipe
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1, (state.updates + 1) / max(1, recipe.warmup))
        state.optimizer.step()
        state.updates += 1
        state.step += 1
        decay = min(recipe.ema, (1 + state.step) / (10 + state.step))
        with torch.no_grad():
            pairs = zip(state.average.parameters(), state.network.parameters(), strict=True)
            for average, parameter in pairs:
                average.lerp_(parameter, 1 - decay)

    def _roll_back(self) -> None:
        """Return to the last good snapshot, once, and continue with other noise."""
        if self._rolled_back or self._good_snapshot is None:
            raise TrainingDiverged(
                f"the loss of {slot_name(self._job.slot)} exploded at step {self.state.step}",
                "lower the run's learning_rate, or restart from an earlier published checkpoint",
            )
        log.warning("diverged at step %d, rolling back to the snapshot", self.state.step)
        self._rolled_back = True
        load_snapshot(self._good_snapshot, self.state, self._task.samples)
        self.state.generator.manual_seed(self._job.seed + 1)
        self._watch = DivergenceWatch()

    def _held_out_loss(self) -> float:
        """Held-out loss of the EMA weights. Raises if it is not finite: nothing is saved then."""
        loss = self._task.held_out_loss(self.state.average, self._tell)
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the held-out loss of {slot_name(self._job.slot)} is no longer finite at step "
                f"{self.state.step}",
                "restart from an earlier published checkpoint",
            )
        return loss

    def _save_snapshot(self) -> Path:
        self._tell("saving a snapshot", self.state.step, None)
        path = self._job.out_dir / f"snapshot-{self.state.step:09d}.safetensors"
        save_snapshot(path, self.state)
        if self._good_snapshot not in (None, path, self._job.resume_state):
            self._good_snapshot.unlink(missing_ok=True)
        self._good_snapshot = path
        return path

    def _offer(self, snapshot: Path) -> Path:
        """Link the snapshot to a second name, which outlives the next snapshot."""
        path = self._job.out_dir / f"resume-{self.state.step:09d}.safetensors"
        path.unlink(missing_ok=True)
        try:
            path.hardlink_to(snapshot)
        except OSError:  # Some file systems have no links.
            write_atomically(path, _pieces(snapshot))
        self._resumes.append(path)
        _delete_others("resume-*.safetensors", self._job.out_dir, self._resumes)
        return path

    def _save_checkpoint(self) -> Path:
        state = self.state
        path = self._job.out_dir / f"checkpoint-{state.step:09d}.safetensors"
        counters = {"slot": state.slot, "step": state.step, "images": state.images}
        metadata = {"format": CHECKPOINT_FORMAT} | {k: str(v) for k, v in counters.items()}
        save_weights(path, state.average, metadata, torch.bfloat16)
        self._checkpoints.append(path)
        _delete_others("checkpoint-*.safetensors", self._job.out_dir, self._checkpoints)
        return path


def _begin(task: Task[Network], job: Job) -> TrainingState[Network]:
    """The start: the own snapshot, a resume state, a checkpoint, or else fresh weights."""
    network = task.network.to(pick_device(job.device))
    try:
        if job.start_from is not None:
            load_into(network, job.start_from)
        state = TrainingState(
            slot=job.slot,
            network=network,
            average=copy.deepcopy(network).requires_grad_(False),
            optimizer=AdamW(network.parameters(), betas=BETAS, weight_decay=0.0, fused=True),
            generator=Generator().manual_seed(job.seed),
            order=torch.empty(0, dtype=torch.int64),
            step=job.start_step,
            images=job.start_images,
        )
        if resumed := job.resume_snapshot or job.resume_state:
            load_snapshot(resumed, state, task.samples)
        _check_counters(state, job)
    except BadContent as error:
        raise StartRefuted(error.message, error.remedy) from error
    return state


def _check_counters(state: TrainingState[Network], job: Job) -> None:
    """BadContent unless the state is at the step of its record and leaves room to train."""
    promised = (job.start_step, job.start_images)
    if job.resume_state is not None and (state.step, state.images) != promised:
        raise BadContent(f"the resume state is at step {state.step}, not {job.start_step}")
    check_room(state.step, state.images)


def _next_rows(state: TrainingState[Network], count: int, samples: int) -> Tensor:
    """The next `count` samples (B,) of endless shuffled passes. The rest stays in the state."""
    while len(state.order) < count:
        fresh = torch.randperm(samples, generator=state.generator)
        state.order = torch.cat([state.order, fresh])
    rows, state.order = state.order[:count], state.order[count:]
    return rows


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            yield piece


def _delete_others(pattern: str, folder: Path, kept: Collection[Path]) -> None:
    """Delete the files that match `pattern`, of any job, except those `kept`."""
    for path in set(folder.glob(pattern)) - set(kept):
        path.unlink(missing_ok=True)
