"""Unattended training: claim the expert that needs it most, train it, then claim again.

So volunteers take over the experts of peers that are gone, without any command.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing

from paris_p2p.errors import ParisError
from paris_p2p.peer.jobs import Job, Jobs
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.training.assignment import TrainingRequest
from paris_p2p.peer.training.claiming import AllHeld
from paris_p2p.peer.training.training_job import TRAINING, TrainingJob
from paris_p2p.peer.training.worker_handle import Event

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 10 * 60.0
"""Seconds between a failure and the next claim. They double with each failure up to the longest."""

log = logging.getLogger(__name__)

Tell = Callable[[Event], None]


class UnattendedTraining:
    """Trains one expert after the other until it is stopped, in the run trained least recently.

    Parameters
    ----------
    jobs : runs each claim as a job. After a job is stopped there, the next claim avoids its expert.
    tell : called with the events of every job (see `TrainingJob.events`), and with "looking" and
        "waiting" in between. Its failures do not stop training.
    """

    def __init__(self, node: Node[Membership], jobs: Jobs, tell: Tell) -> None:
        self._node = node
        self._jobs = jobs
        self._teller = tell
        self._heard = True
        self._job: Job | None = None
        self._avoid: dict[bytes, frozenset[int]] = {}
        self._failures = 0
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Ask for an end. The current job finishes its step, saves, publishes and releases."""
        self._stopped.set()
        if self._job is not None:
            self._job.stop()

    async def run(self) -> None:
        """Claim and train until `stop`. A failure is reported and followed by a pause."""
        while not self._stopped.is_set():
            try:
                await self._train()
            except ParisError as error:
                await self._pause(error)
            except Exception as error:
                log.exception("unattended training failed")
                await self._pause(ParisError(f"training failed: {error!r}"))

    async def _train(self) -> None:
        """One claim from choice to release, in the first run with a free slot."""
        turns = await asyncio.to_thread(turns_of, list(self._node.memberships.values()))
        if not turns:
            raise ParisError("this peer takes part in no run that can be trained")
        for number, membership in enumerate(turns, start=1):
            try:
                await self._train_in(membership, wait=len(turns) == 1)
                return
            except AllHeld:
                if number == len(turns) or self._stopped.is_set():
                    raise

    async def _train_in(self, membership: Membership, wait: bool) -> None:
        """One claim in a run. If all its experts are held, `wait` for one or raise AllHeld."""
        avoid = self._avoid.pop(membership.run_id, frozenset())
        request = TrainingRequest(wait=wait and not avoid, avoid=avoid)
        self._job = self._jobs.begin(TRAINING, TrainingJob(membership, request))
        self._tell({"event": "looking", "run": membership.run_id.hex()})
        try:
            async with aclosing(self._job.follow()) as events:
                async for _, event in events:
                    if event["event"] == "published":
                        self._failures = 0
                    self._tell(event)
        except AllHeld:
            raise
        except ParisError:
            self._leave_alone(membership)
            raise
        if self._job.outcome == "stopped":
            self._leave_alone(membership)

    def _leave_alone(self, membership: Membership) -> None:
        """Avoid the current job's expert in the next claim, in case others need this peer."""
        if self._job is not None and self._job.slot is not None:
            self._avoid[membership.run_id] = frozenset({self._job.slot})

    def _tell(self, event: Event) -> None:
        """Pass an event on. Of failures in a row, only the first is logged."""
        try:
            self._teller(event)
            self._heard = True
        except Exception:
            if self._heard:
                log.exception("training events cannot be reported; training goes on")
            self._heard = False

    async def _pause(self, error: ParisError) -> None:
        seconds = pause_after(self._failures, self._node.rng)
        self._failures += 1
        self._tell({"event": "waiting", "seconds": seconds, "reason": str(error)})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()


def turns_of(memberships: Iterable[Membership]) -> list[Membership]:
    """The runs with data in which to look for a slot, the one trained least recently first."""
    trainable = (one for one in memberships if one.run.shards)
    return sorted(trainable, key=lambda one: (one.last_trained(), one.run_id))


def pause_after(failures: int, rng: random.Random) -> float:
    """Seconds to wait after a failure that follows `failures` in a row, 20% more or less."""
    longest = min(FIRST_PAUSE * 2.0 ** min(failures, 16), LONGEST_PAUSE)
    return longest * rng.uniform(0.8, 1.2)


@contextlib.asynccontextmanager
async def volunteering(node: Node[Membership], jobs: Jobs, tell: Tell) -> AsyncIterator[None]:
    """Unattended training inside the block. It ends with everything saved."""
    volunteer = UnattendedTraining(node, jobs, tell)
    training = asyncio.create_task(volunteer.run())
    try:
        yield
    finally:
        volunteer.stop()
        await training
