"""One download: chunks from whoever has them into the store, as `scheduling` decides.

A source is a conversation: chunks are asked for ahead, come in that order and are verified. What
a source does wrong ends its conversation, never the download.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from paris_p2p.errors import ParisError
from paris_p2p.network.chunk_protocol import LyingProvider
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.transfer.chunk_sources import Reputation, Seed, Source
from paris_p2p.peer.transfer.scheduling import Scheduler
from paris_p2p.records.manifest import CHUNK_SIZE

log = logging.getLogger(__name__)

LOOK = 0.1
"""Seconds between two looks at who is slow, and at what an idle source could do."""

LONGEST_PAUSE = 8.0
"""Seconds between two look-ups of peers, at most; the pauses double up to it."""

SEEDS_AFTER = 3.0
"""Seconds without a byte from any peer after which the run's web servers are asked too."""

WRITES = 4
"""Chunks of one download that may be waiting to be written."""

Clock = Callable[[], float]
Lookup = Callable[[], Awaitable[Sequence[Source]]]


class Conversation(Protocol):
    """Asks one source for chunks, in order. Any exception ends it."""

    @property
    def pending(self) -> int:
        """How many chunks have been asked for and not yet received."""

    async def request(self, ids: Sequence[bytes]) -> None:
        """Ask for chunks."""

    async def receive_into(self, buffer: memoryview) -> tuple[bytes, int | None]:
        """The next chunk asked for and its size, once its verified bytes lie in `buffer`.

        None in place of the size when the source lacks it.
        """


Open = Callable[[Source | Seed, Callable[[], None]], AbstractAsyncContextManager[Conversation]]
"""Begins a conversation; the callback is to be called for every piece that arrives."""

Keep = Callable[[bytes, bytes, memoryview], Awaitable[None]]
"""Called with (source, chunk, its verified bytes), once for every chunk; the bytes go with it."""

OnLie = Callable[[Source | Seed, LyingProvider], None]
"""Called with a source that lied, and how."""


class Download:
    """Fetches `chunks` and hands each to `keep`.

    Parameters
    ----------
    lookup : finds the peers that provide them now; called again and again.
    seeds : web servers, asked only when peers do not deliver.
    clock : seconds that never go back.
    on_lie : told who sent what was not asked for.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        lookup: Lookup,
        seeds: Sequence[Seed],
        open_: Open,
        keep: Keep,
        reputation: Reputation,
        clock: Clock,
        on_lie: OnLie = lambda source, error: None,
    ) -> None:
        self._plan = Scheduler(chunks)
        self._lookup = lookup
        self._seeds: Mapping[bytes, Seed] = {seed.key: seed for seed in seeds}
        self._open = open_
        self._keep = keep
        self._reputation = reputation
        self._clock = clock
        self._on_lie = on_lie
        self._peers: Mapping[bytes, Source] = {}
        self._looked = False
        self._talks: dict[bytes, asyncio.Task[None]] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(WRITES)
        self._buffers: list[memoryview] = []
        self._changed = asyncio.Event()
        self._moved = clock()
        self._failure: Exception | None = None

    async def run(self, patience: float, first_pause: float) -> int:
        """Go on until all is kept or no byte has come for `patience` seconds.

        Returns how many chunks are missing then; what has come is kept. Look-ups are repeated
        after `first_pause` seconds, then ever less often. Raises what `keep` raises.
        """
        scout = asyncio.create_task(self._scout(first_pause))
        try:
            while self._failure is None and (self._writes or self._hopeful(patience)):
                self._recruit()
                await self._next_change()
        finally:
            await end_tasks(scout, *self._talks.values(), *self._writes)
        if self._failure is not None:
            raise self._failure
        return self._plan.missing

    def _hopeful(self, patience: float) -> bool:
        return self._plan.missing > 0 and self._clock() - self._moved <= patience

    async def _scout(self, pause: float) -> None:
        """Keep the list of peers that provide the content fresh."""
        while True:
            try:
                found = await self._lookup()
                self._peers = {source.key: source for source in found} or self._peers
            except (ParisError, TimeoutError) as error:
                log.debug("nobody can say who has this content: %s", error)
            except Exception:
                log.exception("a bug while looking for sources")
            self._looked = True
            self._changed.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _next_change(self) -> None:
        """Until something has arrived or ended, or LOOK has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await self._changed.wait()
        self._changed.clear()

    def _recruit(self) -> None:
        """Begin the conversations that the plan wants, with the best sources at hand."""
        now = self._clock()
        candidates = self._askable(self._peers, now)
        self._make_room(candidates, now)
        if not candidates and self._in_need(now):
            candidates = self._askable(self._seeds, now)[:1]
        for key in candidates[: self._plan.wanted(now)]:
            self._begin(self._peers.get(key) or self._seeds[key], now)

    def _begin(self, source: Source | Seed, now: float) -> None:
        key = source.key
        self._plan.join(key, now, self._reputation.strikes(key))
        self._talks[key] = talk = asyncio.create_task(self._talk(source))
        talk.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: bytes) -> None:
        """However a conversation ended, even before it began: the source may be asked again."""
        del self._talks[key]
        self._plan.leave(key)
        self._changed.set()

    def _askable(self, sources: Iterable[bytes], now: float) -> list[bytes]:
        return self._reputation.askable((key for key in sources if key not in self._talks), now)

    def _in_need(self, now: float) -> bool:
        """Whether the peers do not deliver."""
        silent = not self._talks or now - self._moved > SEEDS_AFTER
        return self._looked and silent and self._plan.stuck(now)

    def _make_room(self, candidates: Sequence[bytes], now: float) -> None:
        """Drop a source that does nothing, where there is one that will not be worse to try."""
        idler = self._plan.superfluous(now)
        if idler is None or not candidates:
            return
        if self._reputation.strikes(candidates[0]) <= self._reputation.strikes(idler) + 1:
            self._reputation.failed(idler, now)
            self._talks[idler].cancel()

    async def _talk(self, source: Source | Seed) -> None:
        """One conversation, from its opening to whatever ends it."""
        key = source.key
        try:
            async with self._open(source, self._note_movement) as conversation:
                await self._converse(key, conversation)
            if self._plan.missing:
                self._reputation.failed(key, self._clock())
        except LyingProvider as error:
            log.warning("%s is dropped for good: %s", source.name, error)
            self._reputation.lied(key)
            self._on_lie(source, error)
        except ParisError as error:
            log.info("%s: %s", source.name, error)
            self._reputation.failed(key, self._clock())
        except Exception:
            log.exception("a bug while asking %s", source.name)
            self._reputation.failed(key, self._clock())

    async def _converse(self, key: bytes, conversation: Conversation) -> None:
        """Ask and receive until `key` has nothing that is missing."""
        while self._plan.useful(key):
            if batch := self._plan.take(key, self._clock()):
                await conversation.request(batch)
            if conversation.pending:
                await self._receive(key, conversation)
            else:
                await asyncio.sleep(LOOK)

    async def _receive(self, key: bytes, conversation: Conversation) -> None:
        buffer = self._buffers.pop() if self._buffers else memoryview(bytearray(CHUNK_SIZE))
        chunk, size = await conversation.receive_into(buffer)
        if size is None:
            self._plan.lacks(key, chunk, self._clock())
        elif self._plan.arrived(key, chunk, self._clock()):
            self._note_movement()
            self._reputation.delivered(key)
            await self._room.acquire()
            writing = asyncio.create_task(self._write(key, chunk, buffer, size))
            self._writes.add(writing)
            writing.add_done_callback(self._written)
            return
        self._buffers.append(buffer)

    async def _write(self, key: bytes, chunk: bytes, buffer: memoryview, size: int) -> None:
        """Keep a chunk while the next one comes in."""
        try:
            await self._keep(key, chunk, buffer[:size])
        except Exception as error:
            self._failure = error
        finally:
            self._buffers.append(buffer)
            self._room.release()

    def _written(self, writing: asyncio.Task[None]) -> None:
        self._writes.discard(writing)
        self._changed.set()

    def _note_movement(self) -> None:
        self._moved = self._clock()
