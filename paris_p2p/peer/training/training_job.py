"""A claimed slot, trained from its best start: attempt after attempt until one works.

`verdicts` decides the consequence of a failed start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from paris_p2p.errors import Held, HomeBusy, NotAvailable, ParisError, Unreachable
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.books.resume_states import learn_resumes
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.assignment import TrainingRequest, needed
from paris_p2p.peer.training.attempt import Attempt, fetched, origin
from paris_p2p.peer.training.claiming import HELD_REMEDY, claimant_of
from paris_p2p.peer.training.device import training_device
from paris_p2p.peer.training.lease import Lease
from paris_p2p.peer.training.snapshots import prune, set_aside, snapshots, step_of
from paris_p2p.peer.training.starting_order import Turn, Turns
from paris_p2p.peer.training.starting_points import Start, starts, within_reach_first
from paris_p2p.peer.training.verdicts import Verdict, is_worth_another_try, verdict
from paris_p2p.peer.training.worker_handle import STOP_PATIENCE, Event
from paris_p2p.peer.transfer.proof_of_storage import is_served
from paris_p2p.peer.transfer.racing import TooSlow
from paris_p2p.records.head import Head, ranked_heads
from paris_p2p.records.resume import Resume, ranked_resumes
from paris_p2p.records.run import slot_name
from paris_p2p.training.worker import alone_in

log = logging.getLogger(__name__)

LOCK_POLL = 0.2

TRAINING: Final = "training"
"""The kind of training jobs."""

RETRY_PAUSES = (2.0, 10.0)
"""Seconds before the second and third try of the same start, after a failure of this machine."""


class TrainingJob:
    """One claim from choice to release. Iterate `events()`; `stop()` ends it cleanly."""

    def __init__(self, membership: Membership, request: TrainingRequest) -> None:
        self._membership = membership
        self._request = request
        self._attempt: Attempt | None = None
        self._stopped = asyncio.Event()
        self.id = membership.node.rng.randbytes(8).hex()
        self.run_id = membership.run_id
        self.expert: int | None = None
        """The slot, once it is claimed."""

    @property
    def slot(self) -> int | None:
        """The claimed slot or, before that, the requested one."""
        return self._request.expert if self.expert is None else self.expert

    def stop(self) -> None:
        """Ask the job to finish its step, save a snapshot, publish, and release the slot."""
        self._stopped.set()
        if self._attempt is not None:
            self._attempt.stop()

    async def events(self) -> AsyncGenerator[Event]:
        """The job's events, as flat JSON-able dictionaries with an "event" name. Errors are raised.

        claimed, fetching, resuming, checking, retrying, passed_over, progress, snapshot, published,
        resume_published, warning, done, released.
        """
        membership = self._membership
        lease = await self._acquire()
        if lease is None:
            return
        if lease.expert in membership.training:  # by a job that claimed it at the same moment
            raise Held(f"this peer is training {slot_name(lease.expert)} already", HELD_REMEDY)
        self.expert = lease.expert
        membership.training.add(lease.expert)
        slot = {"slot": lease.expert, "name": slot_name(lease.expert)}
        keeping = asyncio.create_task(lease.keep())
        keeping.add_done_callback(lambda _: self.stop())
        try:
            yield {"event": "claimed", **slot, "job": self.id, "online": membership.swarm.online()}
            async with (
                membership.node.using(sorted(membership.run.content_ids())),
                aclosing(self._from_best_start(lease)) as events,
            ):
                async for event in events:
                    while lease.warnings:
                        yield {"event": "warning", **slot, "text": lease.warnings.pop(0)}
                    yield event
            if keeping.done():
                keeping.result()
        finally:
            await end_tasks(keeping)
            with contextlib.suppress(ParisError, TimeoutError):
                await lease.release()
            membership.training.discard(lease.expert)
        yield {"event": "released", **slot}

    async def _acquire(self) -> Lease | None:
        """The requested lease; None if the job is stopped before there is one."""
        request, membership = self._request, self._membership
        membership.run.check_data()
        _check_trusted(membership)
        busy = membership.training | request.avoid
        claimant = claimant_of(membership, await asyncio.to_thread(training_device))
        claiming = asyncio.create_task(
            claimant.acquire(request.expert, busy=busy, wait=request.wait)
        )
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([claiming, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(claiming, stopping)
            await claimant.step_back()
        return None if claiming.cancelled() else claiming.result()

    async def _from_best_start(self, lease: Lease) -> AsyncGenerator[Event]:
        """Train from the first start whose content can be fetched and is what it claims.

        Starts published meanwhile are tried before scratch. A failure of this machine is raised if
        it fails at a second start too. It is also raised instead of training from scratch, as is
        the slowness of a start that is still coming.
        """
        contents = needed(self._membership.run, lease.expert)
        async for event in fetched(self._membership, contents, self._stopped.is_set):
            yield event
        standing: ParisError | None = None
        failed, is_fresh = False, True
        turns = Turns(
            await self._starts(lease.expert),
            self._membership.run.recipe.resume_every,
            self._membership.node.config.download_limit,
        )
        while (turn := turns.take()) is not None:
            start = turn.start
            if self._stopped.is_set():
                return
            if standing is not None and start.is_scratch:
                raise standing
            try:
                async with aclosing(self._tries(turn, lease)) as events:
                    async for event in events:
                        yield event
                return
            except ParisError as error:
                said, kept = self._verdict(error, start), None
                if isinstance(error, TooSlow) and turns.put_off(turn, error):
                    said = Verdict.PASSED_OVER
                if said is Verdict.REFUTED:
                    said, kept = await self._refute(start, error)
                if said is Verdict.ENDED or self._stopped.is_set():
                    raise
                if said is Verdict.STANDING:
                    if failed:
                        raise
                    failed = not isinstance(error, TooSlow)
                    standing = error
                log.warning("cannot train from %s: %s", start, error)
                yield _passed_over(start, error, kept)
            if turns.only_scratch_left and is_fresh:
                turns.learn(await self._starts(lease.expert))
                is_fresh = False

    async def _tries(self, turn: Turn, lease: Lease) -> AsyncGenerator[Event]:
        """Train from a start. If this machine fails at once, pause and try again."""
        start = turn.start
        for pause in (*RETRY_PAUSES, None):
            self._attempt = Attempt(self._membership, lease, start, self._request)
            try:
                async with aclosing(self._attempt.events(turn.patience, turn.least)) as events:
                    async for event in events:
                        yield event
                return
            except ParisError as error:
                retry = is_worth_another_try(error, self._attempt.seen)
                if pause is None or self._stopped.is_set() or not retry:
                    raise
                log.warning("%s from %s: %s", slot_name(lease.expert), start, error)
                reason = error.message
            yield {"event": "retrying", **origin(start), "seconds": pause, "reason": reason}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopped.wait()
            if self._stopped.is_set():
                return

    def _verdict(self, error: ParisError, start: Start) -> Verdict:
        seen = self._attempt.seen if self._attempt is not None else ()
        return verdict(error, start, seen, self._membership.swarm.online())

    async def _refute(self, start: Start, error: ParisError) -> tuple[Verdict, Path | None]:
        """Refute `start` and set its attempt's snapshots aside. Returns the path of a kept one.

        A start that was only damaged on this disk stands.
        """
        if start.published is not None and not await self._membership.condemn(
            start.published, error.message
        ):
            return Verdict.STANDING, None
        assert self._attempt is not None and self.expert is not None
        folder = self._membership.slot_folder(self.expert)
        made = [path for path in snapshots(folder) if path not in self._attempt.before]
        return Verdict.REFUTED, set_aside(
            folder, [*made, *([start.snapshot] if start.snapshot else [])]
        )

    async def _starts(self, expert: int) -> list[tuple[Start, float]]:
        """The starts kept here or announced now, with the seconds to wait for each."""
        membership = self._membership
        folder = membership.slot_folder(expert)
        await self._left_alone(folder)
        with contextlib.suppress(Unreachable, TimeoutError):
            await learn_resumes(membership, [expert])
        prune(folder)
        heads, resumes = membership.heads.known(expert), membership.resumes.known(expert)
        records: list[Head | Resume] = [*heads, *resumes]
        found = starts(
            [Start(step_of(path), snapshot=path) for path in snapshots(folder)],
            ranked_resumes(resumes, membership.run.publishers),
            ranked_heads(heads, membership.run.publishers),
            membership.run.recipe.resume_every,
            {record.step for record in records if record.author == membership.node.identity.author},
        )
        contents = [start.published.manifest for start in found if start.published is not None]
        at_hand = await asyncio.gather(*(self._is_served(content) for content in contents))
        served = {content for content, is_here in zip(contents, at_hand, strict=True) if is_here}
        return within_reach_first(found, served)

    async def _left_alone(self, folder: Path) -> None:
        """Wait for a worker of an earlier session to end: it may be saving its last snapshot.

        Raises HomeBusy, naming the worker, if it does not end.
        """
        for _ in range(round(STOP_PATIENCE / LOCK_POLL)):
            with contextlib.suppress(HomeBusy), alone_in(folder):
                return
            if self._stopped.is_set():
                return
            await asyncio.sleep(LOCK_POLL)
        with alone_in(folder):
            return

    async def _is_served(self, content: bytes) -> bool:
        """Whether a content is here, or another peer serves it."""
        if await asyncio.to_thread(self._membership.node.blobs.complete, content):
            return True
        with contextlib.suppress(Unreachable, TimeoutError):
            return await is_served(self._membership, content)
        return False


def _check_trusted(membership: Membership) -> None:
    """NotAvailable if no peer of the run would accept this peer's checkpoints."""
    trusted = membership.run.publishers
    if trusted and membership.node.identity.author not in trusted:
        raise NotAvailable(
            f"the run {membership.run.name} accepts checkpoints only from the authors that it "
            "names, and this peer is not one of them",
            "Train as one of them (paris-peer identity import), or in another run",
        )


def _passed_over(start: Start, error: ParisError, kept: Path | None) -> Event:
    aside = f"; its state is kept as {kept}" if kept is not None else ""
    return {"event": "passed_over", **origin(start), "reason": error.message + aside}
