"""The parts a running peer is made of, and what every verb needs of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from paris_p2p.config import PeerConfig
from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.home import Home
from paris_p2p.identity import Author, Identity
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkServer
from paris_p2p.network.reach.dial_back import DIALBACK_PROTOCOL
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.tasks import finished
from paris_p2p.peer.books.announcing import Announcer
from paris_p2p.peer.books.claim_evidence import evidence_for
from paris_p2p.peer.books.contribution_logs import ContributionLogs
from paris_p2p.peer.books.contributions import CONTRIBUTIONS_PROTOCOL, LogServer
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.record_book import RecordBook
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.peer.books.survey import survey
from paris_p2p.peer.doctor.alarms import Alarms
from paris_p2p.peer.doctor.dial_back_check import dialback_server
from paris_p2p.peer.training.claiming import Claimant
from paris_p2p.peer.training.lease import Judge
from paris_p2p.peer.transfer.fetching import Fetcher, OnBytes
from paris_p2p.peer.upkeep.left_runs import LeftRuns
from paris_p2p.peer.upkeep.retention import Origins, record_limit
from paris_p2p.records.claim import Claim, SlotState
from paris_p2p.records.device import Device
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import MAX_SIZE, Manifest
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest, slot_name
from paris_p2p.store.blobs import Blobs, NoManifest
from paris_p2p.store.chunks import MissingChunk

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Promise:
    """Room in the quota for what is not on the disk yet, in bytes."""

    absent: int
    """Of the content that is being fetched."""
    file: int
    """Of the file that will be made of it."""

    @property
    def size(self) -> int:
        return self.absent + self.file

    def arrived(self, have: int, total: int) -> None:
        """So much of the content is here now."""
        self.absent = total - have


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
    publishing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from making room for own work until a record names it: what none names may go."""
    admitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from looking for room for what is to be fetched until that is promised."""
    making_room: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while room is made: two do not let go the same, and what fits all the same waits not."""
    promises: set[Promise] = field(default_factory=set)
    """The room in the quota that is spoken for."""
    providers: dict[bytes, Origins] = field(default_factory=dict)
    """Who served each content when that was looked up last, and from which network."""
    unserved: dict[bytes, float] = field(default_factory=dict)
    """Contents that nobody who announced them gave, with when that was (Unix seconds)."""
    offers: deque[Mapping[bytes, Head]] = field(default_factory=lambda: deque(maxlen=2))
    """The heads that commands were told of last: one may be superseded before it is asked for."""
    asking: WeakValueDictionary[Author, asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary
    )
    """The turns of those who ask a provider whether it has something; see `proof_of_storage`."""
    starts: Counter[Head | Resume] = field(default_factory=Counter)
    """The records that training begins from now: each may be superseded meanwhile."""
    alarms: Alarms = field(init=False)
    contributions: ContributionLogs = field(init=False)
    left_runs: LeftRuns = field(init=False)
    _letting_go: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.announcer.providers = self.providers
        self.left_runs = LeftRuns(self.home.runs_dir, self.blobs.chunks, self.run_id)
        self.alarms = Alarms(self.swarm)
        self.contributions = ContributionLogs(self.home.contributions_dir)

    async def survey(self, slots: Iterable[int] | None = None) -> list[SlotState]:
        """What the swarm says of these slots; of all when None."""
        return await survey(
            self.swarm, self.heads, self.run, self.run_id, self.clock, slots, self._refuse_claim
        )

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
            self._judge(),
            familiar=[slot for slot in range(self.run.clusters) if self._slot_path(slot).exists()],
        )

    def _judge(self) -> Judge:
        """What this peer holds against others' claims."""
        evidence = partial(evidence_for, self)
        return Judge(lambda: self.run.publishers, evidence, self._refuse_claim)

    def _refuse_claim(self, claim: Claim, reason: str) -> None:
        self.refusals.note(claim.author, f"claim on {slot_name(claim.expert)}", reason)

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
        most: int | None = None,
        patience: float | None = None,
    ) -> Manifest:
        """Have a content of the run; `most` and errors as for `manifest`."""
        async with self.using([content]):
            manifest = await self.manifest(content, most, patience)
            await self.fetcher.fetch_rest(manifest, on_bytes, patience)
            if self._is_refuted(content):
                raise self._refuted(content)
            return manifest

    async def manifest(
        self, content: bytes, most: int | None = None, patience: float | None = None
    ) -> Manifest:
        """What a content is made of, held to what it can be at most, and to `most` bytes.

        NotAvailable for what nothing names, BadContent for what was refuted or is too large. What
        turns out to be no content at all is condemned, whoever names it.
        """
        limit = self.limit(content)
        try:
            return await self.fetcher.manifest(
                content, most=limit if most is None else min(most, limit), patience=patience
            )
        except NoManifest as error:
            if content not in self.run.content_ids():
                await self._condemn_junk(content, error.message)
            raise

    def limit(self, content: bytes) -> int:
        """Bytes that a content can have at most, by what names it. Errors as for `manifest`."""
        if content in self.run.content_ids():
            return MAX_SIZE
        named = self.naming(content)
        if named:
            return max(record_limit(self.run, record) for record in named)
        if self._is_refuted(content):
            raise self._refuted(content)
        raise NotAvailable(
            f"nothing that this peer knows of its run names {content.hex()[:12]}",
            "a newer checkpoint may have taken its place: run the command again",
        )

    def _is_refuted(self, content: bytes) -> bool:
        """Whether a content was tried before, and nothing names it but what was refuted."""
        is_wanted = content in self.run.content_ids() or bool(self.naming(content))
        return not is_wanted and self.refusals.has_condemned(content)

    @staticmethod
    def _refuted(content: bytes) -> BadContent:
        return BadContent(
            f"{content.hex()[:12]} was tried before and refuted", "paris-peer status says by what"
        )

    def naming(self, content: bytes) -> list[Head | Resume]:
        """The records that name a content, without those that were refuted.

        Kept or heard of, offered to commands, or being trained from.
        """
        records: list[Head | Resume] = [*self.heads.naming(content), *self.resumes.naming(content)]
        records += [offered[content] for offered in self.offers if content in offered]
        records += [record for record in self.starts if record.manifest == content]
        return [
            record
            for record in dict.fromkeys(records)
            if not self.refusals.is_condemned(content, record.author)
        ]

    def fetch_events(
        self, contents: Sequence[bytes], most: int | None = None, patience: float | None = None
    ) -> AsyncGenerator[dict[str, Any]]:
        """See `obtain`, which stands on what is built on a Peer."""
        from paris_p2p.peer.transfer.obtaining import obtain

        return obtain(self, contents, most, patience)

    @asynccontextmanager
    async def using(self, contents: Sequence[bytes]) -> AsyncIterator[None]:
        """While it lasts, these contents are not let go; one that is just going is gone before."""
        self.fetching.update(contents)
        try:
            async with self._letting_go:
                pass
            yield
        finally:
            self.fetching.subtract(contents)
            self.fetching = +self.fetching  # without what nobody fetches any more

    @asynccontextmanager
    async def starting(self, records: Sequence[Head | Resume]) -> AsyncIterator[None]:
        """While it lasts, these records count, superseded or not, and their content stays."""
        self.starts.update(records)
        try:
            async with self.using([record.manifest for record in records]):
                yield
        finally:
            self.starts.subtract(records)
            self.starts = +self.starts

    def in_use(self) -> set[bytes]:
        """Contents being fetched; while this peer trains, those that a run is made of too."""
        return set(self.fetching) | (self.run.content_ids() if self.training else set())

    async def let_go(self, content: bytes) -> bool:
        """Drop a content unless it is in use; whether it is gone.

        Whoever begins to use it meanwhile waits until that is decided.
        """
        async with self._letting_go:
            if content in self.in_use():
                return False
            await finished(asyncio.to_thread(self.blobs.drop, content))
            return True

    async def let_go_file(self, content: bytes, before: float) -> None:
        """Delete the file made of a content, unless it was used since `before` (Unix seconds)."""
        async with self._letting_go:
            if content not in self.in_use():
                await finished(asyncio.to_thread(self._drop_unused_file, content, before))

    def _drop_unused_file(self, content: bytes, before: float) -> None:
        if self.blobs.files().get(content, before) < before:
            self.blobs.drop_file(content)

    async def condemn(self, record: Head | Resume, reason: str) -> bool:
        """Never again take a content for what this record says: it was tried and refuted.

        The content goes, unless another record names it or the run is made of it: a liar may have
        signed for another's honest work. False, and nothing is condemned, where the file that was
        tried is not what its author published: it rotted on this disk, and is made again.
        """
        what = f"{record.KIND} of {slot_name(record.expert)} at step {record.step}"
        content, author = record.manifest, record.author
        if not await asyncio.to_thread(self.blobs.file_is_sound, content):
            log.warning("%s was damaged on this disk and is made again", what)
            return False
        await asyncio.to_thread(self.refusals.condemn, content, author, what, reason)
        worthless = not self.naming(content) and content not in self.run.content_ids()
        if worthless:
            await self.announcer.give_up(content)
        self.heads.forget(content, author)
        self.resumes.forget(content, author)
        if worthless:
            await self.let_go(content)
        else:
            await self.announcer.everything()
        return True

    async def _condemn_junk(self, content: bytes, reason: str) -> None:
        """Never again take for anything what is no content at all, and so was never announced."""
        authors = {record.author for record in self.naming(content)}
        what = f"content {content.hex()[:12]}"
        await asyncio.to_thread(self.refusals.condemn, content, None, what, reason)
        for author in authors:
            self.heads.forget(content, author)
            self.resumes.forget(content, author)

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
