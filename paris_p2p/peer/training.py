"""A claimed slot, trained by a worker process while its files are published as they come.

The worker sees files and a pipe, no network; this module is everything between it and the swarm.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from paris_p2p.errors import (
    BadContent,
    Held,
    HomeBusy,
    NotAvailable,
    ParisError,
    TrainingDiverged,
    Unreachable,
    WorkerDied,
)
from paris_p2p.identity import peer_id_of
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.assignment import assignment, needed
from paris_p2p.peer.claiming import HELD_REMEDY
from paris_p2p.peer.device import training_device
from paris_p2p.peer.lease import Lease
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.proving import is_served
from paris_p2p.peer.publishing import Publisher
from paris_p2p.peer.resumes import learn_resumes
from paris_p2p.peer.starts import Start, own_snapshot, parent_of, starts, within_reach_first
from paris_p2p.peer.worker import STOP_PATIENCE, Event, Worker
from paris_p2p.records.head import ranked_heads
from paris_p2p.records.manifest import MAX_SIZE
from paris_p2p.records.resume import ranked_resumes
from paris_p2p.records.run import slot_name
from paris_p2p.training.worker import alone_in

log = logging.getLogger(__name__)

LOCK_POLL = 0.2


@dataclass(frozen=True)
class TrainingRequest:
    """What `claim-expert` asks for. `expert` None: the swarm's need decides.

    `wait` for an expert where all are held; `avoid` those that this peer failed at just now.
    """

    expert: int | None = None
    max_steps: int | None = None
    max_seconds: float | None = None
    threads: int | None = None
    wait: bool = False
    avoid: frozenset[int] = frozenset()


class TrainingJob:
    """One claim from choice to release. Iterate `events()`; `stop()` ends it cleanly."""

    def __init__(self, peer: Peer, request: TrainingRequest) -> None:
        self._peer = peer
        self._request = request
        self._worker = Worker(peer.home.log_file)
        self._stopped = asyncio.Event()
        self.id = peer.rng.randbytes(8).hex()
        self.expert: int | None = None
        self.last: Event = {}

    def stop(self) -> None:
        """Ask the job to finish its step, snapshot, publish and release."""
        self._stopped.set()
        self._worker.stop()

    async def events(self) -> AsyncGenerator[Event]:
        """Everything that happens, as flat JSON-able dictionaries with an "event" name.

        claimed, fetching, passed_over, resuming, progress, snapshot, published, resume_published,
        warning, done, released; errors are raised.
        """
        peer = self._peer
        lease = await self._acquire()
        if lease is None:
            return
        if lease.expert in peer.training:  # by a job that claimed it at the same moment
            raise Held(f"this peer is training {slot_name(lease.expert)} already", HELD_REMEDY)
        self.expert = lease.expert
        peer.training.add(lease.expert)
        peer.jobs.add(self)
        slot = {"slot": lease.expert, "name": slot_name(lease.expert)}
        keeping = asyncio.create_task(lease.keep())
        keeping.add_done_callback(lambda _: self.stop())
        try:
            yield {"event": "claimed", **slot, "job": self.id, "online": peer.swarm.online()}
            async with aclosing(self._from_best_start(lease)) as events:
                async for event in events:
                    while lease.warnings:
                        yield {"event": "warning", **slot, "text": lease.warnings.pop(0)}
                    self.last = event
                    yield event
            if keeping.done():
                keeping.result()
        finally:
            await end_tasks(keeping)
            with contextlib.suppress(ParisError, TimeoutError):
                await lease.release()
            peer.training.discard(lease.expert)
            peer.jobs.discard(self)
        yield {"event": "released", **slot}

    async def _acquire(self) -> Lease | None:
        """The lease that was asked for, or None when the job is stopped before there is one."""
        request, peer = self._request, self._peer
        _check_trusted(peer)
        busy = peer.training | request.avoid
        claimant = peer.claimant(await asyncio.to_thread(training_device))
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
        """Train from the first start whose content can be had and is what it claims."""
        async for event in self._fetched(needed(self._peer.run, lease.expert)):
            yield event
        for start, patience in await self._starts(lease.expert):
            if self._worker.stopping:
                return
            seen = set()
            try:
                async with aclosing(self._from(start, patience, lease)) as events:
                    async for event in events:
                        seen.add(event["event"])
                        yield event
                return
            except (NotAvailable, BadContent, TrainingDiverged, WorkerDied) as error:
                if not _is_the_starts_fault(error, start, seen):
                    raise
                log.warning("cannot start %s from %s: %s", slot_name(lease.expert), start, error)
                yield {"event": "passed_over", **_origin(start), "reason": error.message}

    async def _starts(self, expert: int) -> list[tuple[Start, float]]:
        """Where training can begin, by what this peer keeps and what the swarm announces now.

        Each with the seconds that it may be waited for.
        """
        peer, trusted = self._peer, self._peer.run.trusted_authors
        await self._left_alone(peer.slot_folder(expert))
        with contextlib.suppress(Unreachable, TimeoutError):
            await learn_resumes(peer, [expert])
        found = starts(
            own_snapshot(peer.slot_folder(expert)),
            ranked_resumes(peer.resumes.known(expert), trusted),
            ranked_heads(peer.heads.known(expert), trusted),
            peer.run.recipe.resume_every,
        )
        contents = [start.published.manifest for start in found if start.published is not None]
        at_hand = await asyncio.gather(*(self._is_served(content) for content in contents))
        served = {content for content, is_here in zip(contents, at_hand, strict=True) if is_here}
        return within_reach_first(found, served)

    async def _left_alone(self, folder: Path) -> None:
        """Wait until no worker of an earlier life writes here: it may be saving its last snapshot.

        Raises HomeBusy, naming it, when it does not end.
        """
        for _ in range(round(STOP_PATIENCE / LOCK_POLL)):
            with contextlib.suppress(HomeBusy), alone_in(folder):
                return
            if self._worker.stopping:
                return
            await asyncio.sleep(LOCK_POLL)
        with alone_in(folder):
            return

    async def _is_served(self, content: bytes) -> bool:
        """Whether a content is here, or a peer answers that has it."""
        if await asyncio.to_thread(self._peer.blobs.complete, content):
            return True
        with contextlib.suppress(Unreachable, TimeoutError):
            return await is_served(self._peer, content)
        return False

    async def _from(self, start: Start, patience: float, lease: Lease) -> AsyncGenerator[Event]:
        if start.published is not None:
            run, content = self._peer.run, start.published.manifest
            limit = run.resume_limit if start.resume else run.checkpoint_limit
            async for event in self._fetched([content], limit(lease.expert), patience):
                yield event
        if self._worker.stopping:
            return
        job = await assignment(self._peer, lease.expert, start, self._request)
        lease.begin(start.step)
        yield {"event": "resuming", "slot": lease.expert, **_origin(start)}
        begun: float | None = None
        async with aclosing(self._worked(job, start)) as events:
            async for event in events:
                if event["event"] == "progress":
                    lease.advance(int(event["step"]))
                    event["steps_done"] = event["step"] - start.step
                    begun = self._peer.clock() if begun is None else begun
                    event["seconds"] = self._peer.clock() - begun
                yield event

    async def _worked(self, job: Event, start: Start) -> AsyncGenerator[Event]:
        """The worker's events and the publisher's, as they come; "done" when both have ended."""
        told: asyncio.Queue[Event | None] = asyncio.Queue()
        working = asyncio.create_task(self._work(job, start, told.put_nowait))
        working.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (event := await told.get()) is not None:
                yield event
            await working
        finally:
            if not working.done():
                self.stop()
                await asyncio.wait([working])

    async def _work(self, job: Event, start: Start, tell: Callable[[Event], None]) -> None:
        """Run the worker to its end, and publish what it writes meanwhile."""
        heads = self._peer.heads.known(job["slot"])
        parent = parent_of(start, heads, self._peer.identity.author)
        publisher = Publisher(self._peer, job["slot"], parent)
        publishing = asyncio.create_task(self._publish(publisher, tell))
        done = None
        try:
            async with aclosing(self._worker.run(job)) as events:
                async for event in events:
                    if event["event"] in ("checkpoint", "resume"):
                        publisher.offer(event)
                    elif event["event"] == "done":
                        done = event
                    else:
                        tell(event)
        finally:
            publisher.finish()
            await publishing
        if done is not None:
            tell(done)

    async def _publish(self, publisher: Publisher, tell: Callable[[Event], None]) -> None:
        """Tell what gets published. Where that fails, training stops: its work would be lost."""
        try:
            async for event in publisher.published():
                tell(event)
        except BaseException:
            self.stop()
            raise

    async def _fetched(
        self, contents: Sequence[bytes], most: int = MAX_SIZE, patience: float | None = None
    ) -> AsyncGenerator[Event]:
        """Fetch contents, until all are here or the job is to stop."""
        async with aclosing(self._peer.fetch_events(contents, most, patience)) as events:
            async for event in events:
                if self._worker.stopping:
                    return
                yield event


def _check_trusted(peer: Peer) -> None:
    """NotAvailable where nobody would take what this peer trains."""
    trusted = peer.run.trusted_authors
    if trusted and peer.identity.author not in trusted:
        raise NotAvailable(
            f"the run {peer.run.name} takes checkpoints only of authors that it names, and this "
            "peer is none of them",
            "Train as one of them (paris-peer identity import), or in another run",
        )


def _is_the_starts_fault(error: ParisError, start: Start, seen: Collection[str]) -> bool:
    """Whether another start may do better, after this one's events `seen`.

    A worker that dies may have been killed; only of a stranger's state, and before the first step,
    is that held against the start.
    """
    if isinstance(error, WorkerDied):
        return start.published is not None and "progress" not in seen
    return not start.is_scratch and "published" not in seen


def _origin(start: Start) -> Event:
    """Where a start comes from, and whose it is when it was published."""
    record = start.published
    by = {"by": peer_id_of(record.author)} if record is not None else {}
    return {"from": start.name, "step": start.step, **by}
