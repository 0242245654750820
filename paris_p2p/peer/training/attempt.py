"""One attempt to train a slot from one start: fetch it, train in a worker, publish meanwhile.

The worker sees files and a pipe, but no network. This module connects it with the swarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager

from paris_p2p.errors import BadContent
from paris_p2p.identity import peer_id_of
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.assignment import TrainingRequest, assignment
from paris_p2p.peer.training.lease import Lease
from paris_p2p.peer.training.publishing import Publisher
from paris_p2p.peer.training.snapshots import snapshots
from paris_p2p.peer.training.starting_points import Start, parent_of
from paris_p2p.peer.training.worker_handle import Event, Worker
from paris_p2p.peer.transfer.obtaining import obtain
from paris_p2p.peer.transfer.racing import LeastPace, at_pace
from paris_p2p.store.chunks import MissingChunk
from paris_p2p.training.job import StartRefuted, check_room


class Attempt:
    """Iterate `events()`; `stop()` ends the attempt cleanly. After a failure the job can go on.

    seen : the kinds of events so far.
    before : the snapshots that existed when the attempt began.
    """

    def __init__(
        self, membership: Membership, lease: Lease, start: Start, request: TrainingRequest
    ) -> None:
        self._membership = membership
        self._lease = lease
        self._start = start
        self._request = request
        self._worker = Worker(membership.node.home.log_file)
        self.seen: set[str] = set()
        self.before = set(snapshots(membership.slot_folder(lease.expert)))

    def stop(self) -> None:
        """Ask for an end after the current step, with everything saved and published."""
        self._worker.stop()

    async def events(self, patience: float, least: LeastPace) -> AsyncGenerator[Event]:
        """The events of the attempt. Fetching gives up after `patience` seconds without a byte.

        Raises StartRefuted if anything is wrong with the start, TooSlow if its content arrives more
        slowly than the `least` pace, and other errors for other causes.
        """
        started = [self._start.published] if self._start.published else []
        async with (
            self._membership.starting(started),
            aclosing(self._events(patience, least)) as events,
        ):
            async for event in events:
                self.seen.add(event["event"])
                yield event

    async def _events(self, patience: float, least: LeastPace) -> AsyncGenerator[Event]:
        check_room(self._start.step, self._start.images)
        with _about_the_start():
            async with aclosing(at_pace(self._fetched(patience), least)) as fetching:
                async for event in fetching:
                    yield event
        if self._worker.stopping:
            return
        job = await assignment(self._membership, self._lease.expert, self._start, self._request)
        self._lease.begin(self._start.step)
        based = {"from": "base"} if self._start.is_scratch and job["base"] else {}
        yield {"event": "resuming", "slot": self._lease.expert, **origin(self._start), **based}
        begun: float | None = None
        async with aclosing(self._worked(job)) as events:
            async for event in events:
                if event["event"] == "progress":
                    self._lease.advance(int(event["step"]))
                    event["steps_done"] = event["step"] - self._start.step
                    now = asyncio.get_running_loop().time()
                    begun = now if begun is None else begun
                    event["seconds"] = now - begun
                yield event

    async def _fetched(self, patience: float) -> AsyncGenerator[Event]:
        """Fetch the content of the start, and make its file."""
        record, run = self._start.published, self._membership.run
        if record is None:
            return
        limit = run.resume_limit if self._start.resume else run.checkpoint_limit
        async for event in fetched(
            self._membership,
            [record.manifest],
            lambda: self._worker.stopping,
            limit(self._lease.expert),
            patience,
        ):
            yield event
        if not self._worker.stopping:
            await self._membership.node.path(record.manifest)

    async def _worked(self, job: Event) -> AsyncGenerator[Event]:
        """The events of worker and publisher as they come, then "done" when both have ended."""
        told: asyncio.Queue[Event | None] = asyncio.Queue()
        working = asyncio.create_task(self._work(job, told.put_nowait))
        working.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (event := await told.get()) is not None:
                yield event
            await working
        finally:
            if not working.done():
                self.stop()
                await asyncio.wait([working])

    async def _work(self, job: Event, tell: Callable[[Event], None]) -> None:
        """Run the worker to its end, and publish its files meanwhile."""
        heads = self._membership.heads.known(job["slot"])
        parent = parent_of(self._start, heads, self._membership.node.identity.author)
        publisher = Publisher(self._membership, job["slot"], parent)
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
        """Report published files. If publishing fails, training stops: its work would be lost."""
        try:
            async for event in publisher.published():
                tell(event)
        except BaseException:
            self.stop()
            raise


async def fetched(
    membership: Membership,
    contents: Sequence[bytes],
    stopping: Callable[[], bool],
    most: int | None = None,
    patience: float | None = None,
) -> AsyncGenerator[Event]:
    """Fetch contents until all are here or `stopping()` is true."""
    async with aclosing(obtain(membership, contents, most, patience)) as events:
        async for event in events:
            if stopping():
                return
            yield event


def origin(start: Start) -> Event:
    """The kind and step of a start, and the author of a published one."""
    record = start.published
    by = {"by": peer_id_of(record.author)} if record is not None else {}
    return {"from": start.name, "step": start.step, **by}


@contextmanager
def _about_the_start() -> Iterator[None]:
    """Raise BadContent as StartRefuted, except MissingChunk: this disk lost the chunk."""
    try:
        yield
    except MissingChunk:
        raise
    except BadContent as error:
        raise StartRefuted(error.message, error.remedy) from error
