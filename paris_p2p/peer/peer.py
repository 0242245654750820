"""The parts a running peer is made of, and what every verb needs of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paris_p2p.config import PeerConfig
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.dialback import DIALBACK_PROTOCOL
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.wire import CHUNK_PROTOCOL, ChunkServer
from paris_p2p.peer.announcing import Announcer
from paris_p2p.peer.claiming import Claimant
from paris_p2p.peer.contributions import CONTRIBUTIONS_PROTOCOL, LogServer
from paris_p2p.peer.fetching import Fetcher, OnBytes
from paris_p2p.peer.handing_over import HandoverBook
from paris_p2p.peer.headbook import HeadBook
from paris_p2p.peer.logbook import ContributionLogs
from paris_p2p.peer.reaching import dialback_server
from paris_p2p.peer.recordbook import RecordBook
from paris_p2p.peer.refusals import Refusals
from paris_p2p.peer.survey import survey
from paris_p2p.records.claim import SlotState
from paris_p2p.records.device import Device
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import MAX_SIZE, Manifest
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest, slot_name
from paris_p2p.store.blobs import Blobs, NoManifest
from paris_p2p.store.chunks import MissingChunk

if TYPE_CHECKING:
    from paris_p2p.peer.training import TrainingJob


@dataclass
class Peer:
    """One running peer of one run. Verbs take it as their first argument."""

    home: Home
    identity: Identity
    swarm: Swarm
    blobs: Blobs
    heads: HeadBook
    resumes: RecordBook[Resume]
    run: RunManifest
    run_id: bytes
    fetcher: Fetcher
    announcer: Announcer
    config: PeerConfig = field(default_factory=PeerConfig)
    clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.SystemRandom)
    refusals: Refusals = field(default_factory=lambda: Refusals(None, time.time))
    """What was refused, from whom and why."""
    sent: int = 0
    """Bytes served."""
    fetching: Counter[bytes] = field(default_factory=Counter)
    """How many verbs are fetching each content now."""
    training: set[int] = field(default_factory=set)
    """Slots that this process is training now."""
    jobs: set[TrainingJob] = field(default_factory=set)
    """The training of them."""
    publishing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from making room for own work until a record names it: what none names may go."""
    contributions: ContributionLogs = field(init=False)
    handovers: HandoverBook = field(init=False)

    def __post_init__(self) -> None:
        self.contributions = ContributionLogs(self.home.contributions_dir)
        self.handovers = HandoverBook(self.home.handovers_dir)

    async def survey(self, slots: Iterable[int] | None = None) -> list[SlotState]:
        """What the swarm says of these slots; of all when None."""
        return await survey(self.swarm, self.heads, self.run, self.run_id, self.clock, slots)

    def claimant(self, device: Device | None = None) -> Claimant:
        """This peer in search of a slot that `device` can train."""
        return Claimant(
            self.swarm,
            self.identity,
            self.run,
            self.run_id,
            self.survey,
            self.clock,
            self.rng,
            device,
            familiar=[slot for slot in range(self.run.clusters) if self._slot_path(slot).exists()],
        )

    def slot_folder(self, expert: int) -> Path:
        """Where this peer keeps its private training state of a slot."""
        folder = self._slot_path(expert)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def _slot_path(self, expert: int) -> Path:
        return self.home.snapshots_dir / self.run_id.hex()[:16] / f"slot-{expert}"

    async def path(self, content: bytes) -> Path:
        """The verified file of a content held in the store."""
        return await asyncio.to_thread(self.blobs.path, content)

    async def fetch(
        self,
        content: bytes,
        on_bytes: OnBytes = lambda have, total: None,
        most: int = MAX_SIZE,
        patience: float | None = None,
    ) -> Manifest:
        """Have a content of the run, held to `most` bytes and to the size its kind can have.

        What turns out to be no content at all is condemned with the record that names it.
        """
        limit = min(most, self._limit(content))
        try:
            with self.using([content]):
                return await self.fetcher.fetch(content, on_bytes, limit, patience)
        except NoManifest as error:
            record = self.record_of(content)
            if record is not None:
                await self.condemn(record, error.message)
            raise

    @contextmanager
    def using(self, contents: Sequence[bytes]) -> Iterator[None]:
        """While it lasts, these contents are not let go."""
        self.fetching.update(contents)
        try:
            yield
        finally:
            self.fetching.subtract(contents)
            self.fetching = +self.fetching  # without what nobody fetches any more

    def _limit(self, content: bytes) -> int:
        """Bytes that a content can have at most, by what names it."""
        if content in self.run.content_ids():
            return MAX_SIZE
        limits = [
            self.run.checkpoint_limit(head.expert)
            for head in self.heads.all()
            if head.manifest == content
        ] + [
            self.run.resume_limit(resume.expert)
            for resume in self.resumes.all()
            if resume.manifest == content
        ]
        return max(limits, default=MAX_SIZE)

    def record_of(self, content: bytes) -> Head | Resume | None:
        """A head or resume state that names this content, kept or heard of."""
        for slot in self.run.slots():
            records: list[Head | Resume] = [*self.heads.known(slot), *self.resumes.known(slot)]
            for record in records:
                if record.manifest == content:
                    return record
        return None

    async def condemn(self, record: Head | Resume, reason: str) -> None:
        """Never use, copy or announce again what this record names: it was tried and refuted."""
        what = f"{record.KIND} of {slot_name(record.expert)} at step {record.step}"
        content = record.manifest
        await asyncio.to_thread(self.refusals.condemn, content, record.author, what, reason)
        await self.announcer.give_up(content)
        self.heads.forget(content)
        self.resumes.forget(content)
        await asyncio.to_thread(self.blobs.drop, content)

    async def fetch_events(
        self, contents: Sequence[bytes], most: int = MAX_SIZE, patience: float | None = None
    ) -> AsyncGenerator[dict[str, Any]]:
        """Fetch what is not here yet, one after the other; yields "fetching" events in bytes.

        `most` and `patience` are those of `fetch`, for each.
        """
        for content in contents:
            if await asyncio.to_thread(self.blobs.complete, content):
                continue
            async with aclosing(self._fetch_steps(content, most, patience)) as steps:
                async for have, total in steps:
                    yield {
                        "event": "fetching",
                        "content": content.hex(),
                        "bytes": have,
                        "total": total,
                    }
            await self.announcer.content(content)

    async def _fetch_steps(
        self, content: bytes, most: int, patience: float | None
    ) -> AsyncGenerator[tuple[int, int]]:
        """(bytes here, bytes in all) while one content is fetched; its errors are raised."""
        steps: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()

        def tell(have: int, total: int) -> None:
            steps.put_nowait((have, total))

        fetching = asyncio.create_task(self.fetch(content, tell, most, patience))
        fetching.add_done_callback(lambda _: steps.put_nowait(None))
        try:
            while (step := await steps.get()) is not None:
                yield step
            await fetching
        finally:
            fetching.cancel()

    async def serve(self) -> None:
        """Answer other peers: chunks, contribution logs, and whether they can be reached."""
        pacers, network_of = self.fetcher.pacers, self.swarm.network_of
        chunks = ChunkServer(self.read_chunk, pacers=pacers, network_of=network_of)
        await self.swarm.serve(CHUNK_PROTOCOL, chunks)
        logs = LogServer(self.contributions, pacers=pacers, network_of=network_of)
        await self.swarm.serve(CONTRIBUTIONS_PROTOCOL, logs)
        dialling_back = dialback_server(self.swarm, self.run_id, time.monotonic)
        await self.swarm.serve(DIALBACK_PROTOCOL, dialling_back)

    async def read_chunk(self, author: bytes, chunk: bytes) -> bytes | None:
        """A chunk for another peer, or None when this store has no sound copy of it."""
        try:
            data = await asyncio.to_thread(self.blobs.chunks.get, chunk)
        except MissingChunk:
            return None
        self.sent += len(data)
        return data
