"""A node's part in one run, and the parts that every action in that run needs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.books.announcing import Announcer
from paris_p2p.peer.books.authorisation import Authorisation
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.record_book import RecordBook
from paris_p2p.peer.books.survey import survey
from paris_p2p.peer.node import Node
from paris_p2p.peer.transfer.fetching import Fetcher, OnBytes
from paris_p2p.peer.upkeep.retention import ProviderNetworks, content_limit
from paris_p2p.records.claim import Claim, SlotState
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import MAX_SIZE, Manifest
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest, slot_name
from paris_p2p.store.blobs import NoManifest

log = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class Membership:
    """One node in one run. Functions that act in a run take it as their first argument."""

    node: Node[Membership]
    run: RunManifest
    run_id: bytes
    authorisation: Authorisation
    swarm: Swarm
    """The part of the swarm that the run's list of members admits."""
    heads: HeadBook
    resumes: RecordBook[Resume]
    fetcher: Fetcher
    announcer: Announcer
    training: set[int] = field(default_factory=set)
    """Slots that this process is training now."""
    providers: dict[bytes, ProviderNetworks] = field(default_factory=dict)
    """The providers of each content at the last look-up, and their networks."""
    unserved: dict[bytes, float] = field(default_factory=dict)
    """Contents that no announced provider sent, with the time of the attempt (Unix seconds)."""
    offers: deque[Mapping[bytes, Head]] = field(default_factory=lambda: deque(maxlen=2))
    """The heads last offered to commands: one may be superseded before it is requested."""
    starts: Counter[Head | Resume] = field(default_factory=Counter)
    """The records that training is starting from: one may be superseded meanwhile."""

    def __post_init__(self) -> None:
        self.announcer.providers = self.providers

    async def survey(self, slots: Iterable[int] | None = None) -> list[SlotState]:
        """The state of these slots as the swarm announces it; None for all slots."""
        clock = self.node.clock
        return await survey(
            self.swarm, self.heads, self.run, self.run_id, clock, slots, self.refuse_claim
        )

    def refuse_claim(self, claim: Claim, reason: str) -> None:
        """Note a claim that does not count, for the user."""
        self.node.refusals.note(claim.author, f"claim on {slot_name(claim.expert)}", reason)

    def slot_folder(self, expert: int) -> Path:
        """The folder of this node's snapshots of a slot. It is created if absent."""
        folder = self._snapshots / f"slot-{expert}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def last_trained(self) -> float:
        """The last time that this node trained in the run (Unix seconds); 0 for never. Blocks."""
        return max((folder.stat().st_mtime for folder in self._snapshots.glob("slot-*")), default=0)

    def trained_slots(self) -> list[int]:
        """The experts that this node has trained before."""
        folders = {slot: self._snapshots / f"slot-{slot}" for slot in range(self.run.clusters)}
        return [slot for slot, folder in folders.items() if folder.exists()]

    @property
    def _snapshots(self) -> Path:
        return self.node.home.snapshots_dir / self.run_id.hex()[:16]

    async def fetch(
        self,
        content: bytes,
        on_bytes: OnBytes = lambda have, total: None,
        most: int | None = None,
        patience: float | None = None,
    ) -> Manifest:
        """Fetch a content of the run. `most` and errors as for `manifest`."""
        async with self.node.using([content]):
            manifest = await self.manifest(content, most, patience)
            await self.fetcher.fetch_rest(manifest, on_bytes, patience)
            if self._is_refuted(content):
                raise self._refuted(content)
            return manifest

    async def manifest(
        self, content: bytes, most: int | None = None, patience: float | None = None
    ) -> Manifest:
        """The manifest of a content, of at most the content's limit and `most` bytes.

        NotAvailable if no record names the content, BadContent if it was refuted or is too large.
        Bytes that are not a manifest are condemned for all authors.
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
        """Most bytes of a content, by the records that name it. Errors as for `manifest`."""
        if content in self.run.content_ids():
            return MAX_SIZE
        named = self.naming(content)
        if named:
            return max(content_limit(self.run, record) for record in named)
        if self._is_refuted(content):
            raise self._refuted(content)
        raise NotAvailable(
            f"no record of the run {self.run.name} that this peer knows names {content.hex()[:12]}",
            "a newer checkpoint may have taken its place: run the command again",
        )

    def naming(self, content: bytes) -> list[Head | Resume]:
        """The records that name a content, without refuted ones.

        They are kept or heard, were offered to commands, or are training starts.
        """
        records: list[Head | Resume] = [*self.heads.naming(content), *self.resumes.naming(content)]
        records += [offered[content] for offered in self.offers if content in offered]
        records += [record for record in self.starts if record.manifest == content]
        return [record for record in dict.fromkeys(records) if self.counts(record)]

    def counts(self, record: Head | Resume) -> bool:
        """Whether a record is not refuted."""
        return not self.node.refusals.is_condemned(record.manifest, record.author)

    def contents(self) -> set[bytes]:
        """The run's own contents, and those that its kept records name."""
        records: list[Head | Resume] = [*self.heads.all(), *self.resumes.all()]
        return {record.manifest for record in records} | self.run.content_ids()

    def names(self, content: bytes) -> bool:
        """Whether the run consists of a content, or one of its unrefuted records names it."""
        return content in self.run.content_ids() or bool(self.naming(content))

    @asynccontextmanager
    async def starting(self, records: Sequence[Head | Resume]) -> AsyncIterator[None]:
        """Inside the block, these records count even if superseded, and their content stays."""
        self.starts.update(records)
        try:
            async with self.node.using([record.manifest for record in records]):
                yield
        finally:
            self.starts.subtract(records)
            self.starts = +self.starts

    async def condemn(self, record: Head | Resume, reason: str) -> bool:
        """Condemn the content of a record that was tried and refuted, as this author's.

        The content is deleted unless another record or run names it: a liar may have signed a
        record of another's honest work. If the file was damaged on this disk, nothing is condemned,
        the result is False, and the file is made again.
        """
        node, content, author = self.node, record.manifest, record.author
        what = f"{record.KIND} of {slot_name(record.expert)} at step {record.step}"
        if not await asyncio.to_thread(node.blobs.file_is_sound, content):
            log.warning("%s was damaged on this disk and is made again", what)
            return False
        await asyncio.to_thread(node.refusals.condemn, content, author, what, reason)
        is_named = self.names(content)
        if not is_named:
            await self.announcer.give_up(content)
        self._forget(content, author)
        if is_named:
            await self.announcer.everything()
        elif not any(other.names(content) for other in node.memberships.values()):
            await node.let_go(content)
        return True

    async def _condemn_junk(self, content: bytes, reason: str) -> None:
        """Condemn, for all authors, bytes that are not a manifest. They were never announced."""
        authors = {record.author for record in self.naming(content)}
        what = f"content {content.hex()[:12]}"
        await asyncio.to_thread(self.node.refusals.condemn, content, None, what, reason)
        for author in authors:
            self._forget(content, author)

    def _forget(self, content: bytes, author: bytes) -> None:
        self.heads.forget(content, author)
        self.resumes.forget(content, author)

    def _is_refuted(self, content: bytes) -> bool:
        """Whether a content was refuted, and only refuted records name it."""
        return not self.names(content) and self.node.refusals.has_condemned(content)

    @staticmethod
    def _refuted(content: bytes) -> BadContent:
        return BadContent(
            f"{content.hex()[:12]} was tried before and refuted", "paris-peer status shows why"
        )
