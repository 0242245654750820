"""Presence, provider, head and resume records, renewed before they expire.

A record lives LIFETIME seconds and is announced again every PERIOD. A dead peer is forgotten within
LIFETIME, and one lost round does no harm.

Wide sets lie on key pages (`network/key_pages`), so that thousands of peers find room without more
load on the DHT. A head or resume state is the same whoever announces it, so peers do not announce
one that ENOUGH others announce. Its author always announces it. Providers always announce
themselves: the count of others could be forged, and would silence the true ones.
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

LIFETIME, PERIOD = 150.0, 45.0
"""Seconds that an announced record lives, and after which it is announced again."""
CONCURRENT_STORES = 8
PER_RECORD = 3
"""Most sealed records of a slot that one peer announces: about 400 bytes each, 2 KiB together."""
ENOUGH = 16
"""Announcers of one head or resume state that suffice: other peers do not start to announce it."""

log = logging.getLogger(__name__)


class Announcer:
    """Announces one peer's presence and contents, under its own subkey of the DHT.

    Parameters
    ----------
    clock : Unix seconds.
    role : the peer's role, one of records/presence.ROLES.
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
        """The providers of each content at the last look-up, and their networks."""

    async def everything(self) -> None:
        """One round: presence, every complete content, each slot's heads and resume states.

        The provider records of content that is gone are withdrawn.
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
        """Announce that this peer serves `content`, and the heads and resume states that name it.

        These are announced even if enough others do: those may be about to leave.
        """
        self._given_up.discard(content)
        await self._provide(content)
        await self._records_of(content, at_once=True)

    async def give_up(self, content: bytes) -> None:
        """Withdraw the provider record of `content`, until the method `content` announces it again.

        The heads and resume states that name it are not announced meanwhile.
        """
        self._given_up.add(content)
        self._heads.unpin(content)
        self._resumes.unpin(content)
        await self._not_provided(content)
        await self._records_of(content, at_once=False)

    def keep(self, content: bytes) -> None:
        """Let the next round announce a content again that was given up, if it is still here."""
        self._given_up.discard(content)

    async def withdraw(self) -> None:
        """Withdraw every announced record, so that nobody waits for this peer. Announce no more."""
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
        """Ids of the run's contents that are complete in the store, the run record included."""
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
        """Announce this peer's own head of a slot and the best other heads.

        Their content must be here: a head of content that nobody has must not displace a real one.
        """
        here = [head for head in self._heads.of(slot) if head.manifest in held]
        best = self._shared_out(ranked_heads(here, self._run.publishers))
        await self._pass_on(self._heads, best, heads_key(self._run_id, slot), at_once)

    async def _slot_resumes(
        self, slot: int, held: Collection[bytes], at_once: bool = False
    ) -> None:
        """Announce the resume states of a slot, by the same rule as its heads."""
        here = [resume for resume in self._resumes.of(slot) if resume.manifest in held]
        best = self._shared_out(ranked_resumes(here, self._run.publishers))
        await self._pass_on(self._resumes, best, resume_key(self._run_id, slot), at_once)

    def _shared_out(self, ranked: Sequence[Record]) -> list[Record]:
        """This peer's own records, then those of others that `shared_out` gives a place."""
        mine = {self._identity.author: ""}
        origins = {record: self.providers.get(record.manifest) or mine for record in ranked}
        best = shared_out(ranked, origins, PER_RECORD, PER_RECORD)
        own = [record for record in ranked if record.author == self._identity.author]
        return own + [record for record in best if record not in own]

    async def _pass_on(
        self, book: RecordBook[Record], best: Sequence[Record], key: str, at_once: bool
    ) -> None:
        """Announce the first PER_RECORD records that need it; all of them with `at_once`."""
        here = [record for record in best[:PER_RECORD] if book.pin(record)]
        said = [record for record in here if at_once or self._is_needed(book, record, key)]
        self._passed_on[key] = {record.manifest for record in said}
        if said:
            await self._store(self._shared, key, encode([book.sealed(record) for record in said]))
        else:
            await self._take_back(key)

    def _is_needed(self, book: RecordBook[Record], record: Record, key: str) -> bool:
        """Whether too few others announce a record. This peer's own records are always needed.

        Announcements with a longer life than LIFETIME are not counted.
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
        """Store a record. If that fails, the next round tries again."""
        async with self._turn("announced later"):
            if not self._has_left:
                await pages.store(key, value, self._clock() + LIFETIME)

    async def _take_back(self, key: str) -> None:
        if self._shared.says(key):
            async with self._turn("left to expire"):
                await self._shared.withdraw(key)

    @asynccontextmanager
    async def _turn(self, otherwise: str) -> AsyncIterator[None]:
        """One of CONCURRENT_STORES places. If the swarm is out of reach, `otherwise` is logged."""
        async with self._places:
            try:
                yield
            except (Unreachable, TimeoutError) as error:
                log.warning("%s: %s", otherwise, error)


def passes_on(does: bool, others: int, rng: random.Random) -> bool:
    """Whether a peer should announce a record that `others` peers announce.

    `does` : whether it already does. No peer starts if ENOUGH do. If twice as many do, each of them
    stops with probability 1/2, so that they do not all stop at once.
    """
    if others < ENOUGH:
        return True
    return does and (others < 2 * ENOUGH or rng.random() < 0.5)
