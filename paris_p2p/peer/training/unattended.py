"""Training unattended: claim the expert that needs it most, train, and when that ends, claim again.

An expert whose peer is gone is taken over by whoever volunteers, with nobody typing anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from paris_p2p.errors import ParisError
from paris_p2p.peer.jobs import Job, Jobs
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.training.training_job import TRAINING, TrainingJob, TrainingRequest
from paris_p2p.peer.training.worker import Event

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 10 * 60.0
"""Seconds between a failure and the next claim: doubled with every failure, up to the longest."""

log = logging.getLogger(__name__)

Tell = Callable[[Event], None]


class Volunteer:
    """Trains one expert after the other until it is stopped.

    Parameters
    ----------
    jobs : where each claim is a job, from choice to release. One that is stopped there leaves its
        expert alone for the next claim.
    tell : called with the events of every job (see `TrainingJob.events`), and with "looking" and
        "waiting" in between. Training goes on where it fails.
    """

    def __init__(self, peer: Peer, jobs: Jobs, tell: Tell) -> None:
        self._peer = peer
        self._jobs = jobs
        self._teller = tell
        self._heard = True
        self._job: Job | None = None
        self._avoid: frozenset[int] = frozenset()
        self._failures = 0
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Ask for an end: the job of now finishes its step, snapshots, publishes, releases."""
        self._stopped.set()
        if self._job is not None:
            self._job.stop()

    async def run(self) -> None:
        """Claim and train until `stop`. A failure is told and tried again after a pause."""
        while not self._stopped.is_set():
            try:
                await self._train()
            except ParisError as error:
                await self._pause(error)
            except Exception as error:
                log.exception("unattended training failed")
                await self._pause(ParisError(f"training failed: {error!r}"))

    async def _train(self) -> None:
        """One claim from choice to release; waits for an expert while all are held."""
        request = TrainingRequest(wait=not self._avoid, avoid=self._avoid)
        self._job = self._jobs.begin(TRAINING, TrainingJob(self._peer, request))
        self._tell({"event": "looking"})
        async with aclosing(self._job.follow()) as events:
            async for _, event in events:
                if event["event"] == "published":
                    self._failures, self._avoid = 0, frozenset()
                self._tell(event)
        if self._job.outcome == "stopped":
            self._avoid = self._slot_of_job()

    def _tell(self, event: Event) -> None:
        """Pass an event on. The first failure to is logged, and the next after a success."""
        try:
            self._teller(event)
            self._heard = True
        except Exception:
            if self._heard:
                log.exception("nobody hears of the training, which goes on")
            self._heard = False

    async def _pause(self, error: ParisError) -> None:
        """Wait, and leave alone the expert that failed: for one attempt, should others need it."""
        self._avoid = self._slot_of_job()
        seconds = pause_after(self._failures, self._peer.rng)
        self._failures += 1
        self._tell({"event": "waiting", "seconds": seconds, "reason": str(error)})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    def _slot_of_job(self) -> frozenset[int]:
        """The expert of the job of now, where it has one."""
        slot = self._job.slot if self._job is not None else None
        return frozenset() if slot is None else frozenset({slot})


def pause_after(failures: int, rng: random.Random) -> float:
    """Seconds to wait after so many failures in a row, before this one; 20% more or less."""
    longest = min(FIRST_PAUSE * 2.0 ** min(failures, 16), LONGEST_PAUSE)
    return longest * rng.uniform(0.8, 1.2)


@contextlib.asynccontextmanager
async def volunteering(peer: Peer, jobs: Jobs, tell: Tell) -> AsyncIterator[None]:
    """Unattended training for as long as the block lasts; it ends with everything saved."""
    volunteer = Volunteer(peer, jobs, tell)
    training = asyncio.create_task(volunteer.run())
    try:
        yield
    finally:
        volunteer.stop()
        await training
