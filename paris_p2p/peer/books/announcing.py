"""Presence, provider, head and resume records, renewed before they expire.

A record lives LIFETIME seconds and is announced again every PERIOD: a peer that dies is forgotten
within LIFETIME, one lost round is not noticed.

Wide sets lie on pages (`network/key_pages`), so that thousands of peers find room and the DHT is
asked no more for it. Heads and resume states say the same whoever passes them on, so peers hold
back with those that ENOUGH others were heard to announce. Who made one always announces it.
Providers never hold back on such a count: it could be forged, and would silence those who do have
the content.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.key_pages import KeyPages
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.provider_records import ProviderRecords
from paris_p2p.peer.books.record_book import Record, RecordBook
from paris_p2p.peer.upkeep.retention import ProviderNetworks, shared_out
from paris_p2p.records.codec import encode
from paris_p2p.records.head import ranked_heads
from paris_p2p.records.keys import (
    PEER_LEVELS,
    SHARED_LEVELS,
    heads_key,
    peers_key,
    resume_key,
)
from paris_p2p.records.presence import PEER, sealed_presence
from paris_p2p.records.resume import Resume, ranked_resumes
from paris_p2p.records.run import RunManifest
from paris_p2p.store.blobs import Blobs

LIFETIME = 150.0
PERIOD = 45.0
CONCURRENT_STORES = 8
PER_RECORD = 3
"""Sealed records of a slot that one peer announces: about 400 bytes each, 2 KiB together."""
ENOUGH = 16
"""Announcers of one head or resume state from which on others need not begin."""

log = logging.getLogger(__name__)


class Announcer:
    """Says what one peer is and holds, under its own subkey of the DHT.

    Parameters
    ----------
    clock : Unix seconds.
    role : what the peer calls itself, one of records/presence.ROLES.
    """

    def __init__(
        self,
        swarm: Swarm,
        identity: Identity,
        blobs: Blobs,
        provider_records: ProviderRecords,
        heads: HeadBook,
        resumes: RecordBook[Resume],
        run: RunManifest,
        run_id: bytes,
        clock: Callable[[], float],
        role: str = PEER,
        rng: random.Random | None = None,
    ) -> None:
        self.role = role
        self._identity = identity
        self._blobs = blobs
        self._provider_records = provider_records
        self._heads = heads
        self._resumes = resumes
        self._run = run
        self._run_id = run_id
        self._addresses = swarm.addresses
        self._clock = clock
        self._rng = rng or random.SystemRandom()
        self._peers = KeyPages(swarm, PEER_LEVELS, self._rng)
        self._shared = KeyPages(swarm, SHARED_LEVELS, self._rng)
        self._places = asyncio.Semaphore(CONCURRENT_STORES)
        self._given_up: set[bytes] = set()
        self._has_left = False
        self._passed_on: dict[str, set[bytes]] = {}
        self.providers: Mapping[bytes, ProviderNetworks] = {}
        """Who served each content when that was looked up last, and from which network."""

    async def everything(self) -> None:
        """One round: presence, every content held completely, each slot's heads and resumes.

        What was announced and is not held any more is taken back.
        """
        held = await asyncio.to_thread(self._announceable)
        await self._store(self._peers, peers_key(self._run_id), self._presence())
        await asyncio.gather(*(self._not_provided(content) for content in self._provided() - held))
        held -= self._given_up
        await asyncio.gather(*(self._provide(content) for content in held))
        held -= self._given_up
        await asyncio.gather(*(self._slot_heads(slot, held) for slot in self._run.slots()))
        await asyncio.gather(*(self._slot_resumes(slot, held) for slot in self._run.slots()))

    async def content(self, content: bytes) -> None:
        """Announce that this peer serves `content`, and the heads and resumes that name it.

        All at once: whoever else announced such a record may leave in the next moment.
        """
        self._given_up.discard(content)
        await self._provide(content)
        await self._records_of(content, at_once=True)

    async def give_up(self, content: bytes) -> None:
        """Take back that this peer serves `content`, until `content` announces it again.

        The heads and resumes that name it are not passed on meanwhile.
        """
        self._given_up.add(content)
        self._heads.unpin(content)
        self._resumes.unpin(content)
        await self._not_provided(content)
        await self._records_of(content, at_once=False)

    def keep(self, content: bytes) -> None:
        """The next round may announce again what was given up, where it is still here."""
        self._given_up.discard(content)

    async def withdraw(self) -> None:
        """Take every announced record back, so that nobody waits for this peer; say no more."""
        self._has_left = True
        await asyncio.gather(
            *(
                pages.withdraw(key)
                for pages in (self._peers, self._shared)
                for key in sorted(pages.keys())
            ),
            *(self._not_provided(content) for content in sorted(self._provided())),
        )

    def served(self) -> set[bytes]:
        """Ids of the run's content that is complete in the store, the run record included."""
        named: Iterable[bytes] = [
            *self._run.content_ids(),
            *(head.manifest for head in self._heads.all()),
            *(resume.manifest for resume in self._resumes.all()),
        ]
        held = {content for content in named if self._blobs.complete(content)}
        return held | ({self._run_id} if self._blobs.chunks.has(self._run_id) else set())

    def _announceable(self) -> set[bytes]:
        held = self.served()
        self._given_up &= held
        return held - self._given_up

    def _provided(self) -> set[bytes]:
        return self._provider_records.of(self._run_id)

    async def _provide(self, content: bytes) -> None:
        async with self._turn("announced later"):
            if not self._has_left:
                expires = self._clock() + LIFETIME
                await self._provider_records.tell(content, self._run_id, self._presence(), expires)

    async def _not_provided(self, content: bytes) -> None:
        async with self._turn("left to expire"):
            await self._provider_records.take_back(content, self._run_id)

    async def _records_of(self, content: bytes, at_once: bool) -> None:
        heads = {head.expert for head in self._heads.all() if head.manifest == content}
        resumes = {resume.expert for resume in self._resumes.all() if resume.manifest == content}
        held = await asyncio.to_thread(self._announceable) if heads or resumes else set()
        await asyncio.gather(*(self._slot_heads(slot, held, at_once) for slot in sorted(heads)))
        await asyncio.gather(*(self._slot_resumes(slot, held, at_once) for slot in sorted(resumes)))

    async def _slot_heads(self, slot: int, held: Collection[bytes], at_once: bool = False) -> None:
        """Announce this peer's own head of a slot and the best ones whose content it holds.

        Only what is held: a head that names content nobody has must not displace one that is real.
        """
        here = [head for head in self._heads.of(slot) if head.manifest in held]
        best = self._shared_out(ranked_heads(here, self._run.publishers))
        await self._pass_on(self._heads, best, heads_key(self._run_id, slot), at_once)

    async def _slot_resumes(
        self, slot: int, held: Collection[bytes], at_once: bool = False
    ) -> None:
        """Announce the resume states of a slot that are held, as heads are."""
        here = [resume for resume in self._resumes.of(slot) if resume.manifest in held]
        best = self._shared_out(ranked_resumes(here, self._run.publishers))
        await self._pass_on(self._resumes, best, resume_key(self._run_id, slot), at_once)

    def _shared_out(self, ranked: Sequence[Record]) -> list[Record]:
        """This peer's own, and of the others those that have a place by who serves them."""
        mine = {self._identity.author: ""}
        origins = {record: self.providers.get(record.manifest) or mine for record in ranked}
        best = shared_out(ranked, origins, PER_RECORD, PER_RECORD)
        own = [record for record in ranked if record.author == self._identity.author]
        return own + [record for record in best if record not in own]

    async def _pass_on(
        self, book: RecordBook[Record], best: Sequence[Record], key: str, at_once: bool
    ) -> None:
        """Announce the first few; `at_once`: needed or not."""
        here = [record for record in best[:PER_RECORD] if book.pin(record)]
        said = [record for record in here if at_once or self._is_needed(book, record, key)]
        self._passed_on[key] = {record.manifest for record in said}
        if said:
            await self._store(self._shared, key, encode([book.sealed(record) for record in said]))
        else:
            await self._take_back(key)

    def _is_needed(self, book: RecordBook[Record], record: Record, key: str) -> bool:
        """Whether others do not announce it enough. This peer's own work always is.

        Who claims to announce it for longer than peers do at a time is not counted.
        """
        if record.author == self._identity.author:
            return True
        now = self._clock()
        heard = book.announcers(record)
        others = [one for one, until in heard.items() if now < until <= now + LIFETIME]
        does = record.manifest in self._passed_on.get(key, ())
        return passes_on(does, len(set(others) - {self._identity.author}), self._rng)

    def _presence(self) -> bytes:
        return sealed_presence(
            self._identity, self._run_id, self._addresses(), self.role, self._clock()
        )

    async def _store(self, pages: KeyPages, key: str, value: bytes) -> None:
        """A record that cannot be spread now is spread in the next round."""
        async with self._turn("announced later"):
            if not self._has_left:
                await pages.store(key, value, self._clock() + LIFETIME)

    async def _take_back(self, key: str) -> None:
        if self._shared.says(key):
            async with self._turn("left to expire"):
                await self._shared.withdraw(key)

    @asynccontextmanager
    async def _turn(self, otherwise: str) -> AsyncIterator[None]:
        """A place to speak to the swarm; what comes of it where that cannot be reached."""
        async with self._places:
            try:
                yield
            except (Unreachable, TimeoutError) as error:
                log.warning("%s: %s", otherwise, error)


def passes_on(does: bool, others: int, rng: random.Random) -> bool:
    """Whether a peer announces a record that so many `others` announce; `does` it already?

    Nobody begins where ENOUGH do. Where twice as many do, each of them stops at a toss of a coin,
    so that never all stop at once.
    """
    if others < ENOUGH:
        return True
    return does and (others < 2 * ENOUGH or rng.random() < 0.5)
