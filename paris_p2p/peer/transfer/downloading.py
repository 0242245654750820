"""One download: chunks from their sources into the store, as `scheduling` decides.

Each source gets a conversation: chunks are requested ahead, arrive in that order, and are verified.
A fault of a source ends its conversation, never the download.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Protocol

from paris_p2p.errors import ParisError
from paris_p2p.network.chunk_protocol import LyingProvider
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.transfer.chunk_sources import Reputation, Seed, Source
from paris_p2p.peer.transfer.scheduling import Scheduler
from paris_p2p.records.manifest import CHUNK_SIZE

log = logging.getLogger(__name__)

LOOK = 0.1
"""Seconds between two looks for slow and idle sources."""

LONGEST_PAUSE = 8.0
"""Most seconds between two look-ups of peers. The pauses double up to it."""

SEEDS_AFTER = 3.0
"""Seconds without a byte from any peer after which the run's web servers are asked too."""

WRITES = 4
"""Most chunks of one download that wait to be written."""

Clock = Callable[[], float]
Lookup = Callable[[], Awaitable[Sequence[Source]]]


class Conversation(Protocol):
    """Asks one source for chunks, in order. Any exception ends it."""

    @property
    def pending(self) -> int:
        """The number of chunks requested and not yet received."""

    async def request(self, ids: Sequence[bytes]) -> None:
        """Request chunks."""

    async def receive_into(self, buffer: memoryview) -> tuple[bytes, int | None]:
        """The next requested chunk and its size, once its verified bytes lie in `buffer`.

        The size is None if the source lacks the chunk.
        """


Open = Callable[[Source | Seed, Callable[[], None]], AbstractAsyncContextManager[Conversation]]
"""Begins a conversation, which calls the callback for every piece that arrives."""

Keep = Callable[[bytes, bytes, memoryview], Awaitable[None]]
"""Called once per chunk with (source, chunk, verified bytes), which are valid during the call."""

OnLie = Callable[[Source | Seed, LyingProvider], None]
"""Called with a source that lied, and the lie."""


class Download:
    """Fetches `chunks` and hands each to `keep`.

    Parameters
    ----------
    lookup : finds the current providers; called again and again.
    seeds : web servers, asked only when peers do not deliver.
    clock : monotonic seconds.
    on_lie : called with each source that sends something else than the requested chunk.
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
        self._conversations: dict[bytes, asyncio.Task[None]] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(WRITES)
        self._buffers: list[memoryview] = []
        self._changed = asyncio.Event()
        self._last_byte_at = clock()
        self._failure: Exception | None = None

    async def run(self, patience: float, first_pause: float) -> int:
        """Download until all chunks are kept or no byte has come for `patience` seconds.

        Returns the number of missing chunks. Received chunks are kept. Look-ups are repeated after
        `first_pause` seconds, then less and less often. Raises the errors of `keep`.
        """
        looking_up = asyncio.create_task(self._look_up_peers(first_pause))
        try:
            while self._failure is None and (self._writes or self._may_go_on(patience)):
                self._begin_conversations()
                await self._next_change()
        finally:
            await end_tasks(looking_up, *self._conversations.values(), *self._writes)
        if self._failure is not None:
            raise self._failure
        return self._plan.missing

    def _may_go_on(self, patience: float) -> bool:
        return self._plan.missing > 0 and self._clock() - self._last_byte_at <= patience

    async def _look_up_peers(self, pause: float) -> None:
        """Keep the list of the content's providers fresh."""
        while True:
            try:
                found = await self._lookup()
                self._peers = {source.key: source for source in found} or self._peers
            except (ParisError, TimeoutError) as error:
                log.debug("cannot look up the providers of this content: %s", error)
            except Exception:
                log.exception("a bug while looking for sources")
            self._looked = True
            self._changed.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _next_change(self) -> None:
        """Wait until something has arrived or ended, or LOOK seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await self._changed.wait()
        self._changed.clear()

    def _begin_conversations(self) -> None:
        """Begin the conversations that the plan wants, with the best known sources."""
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
        self._conversations[key] = holding = asyncio.create_task(self._hold_conversation(source))
        holding.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: bytes) -> None:
        """Forget a conversation that ended in any way, so that its source may be asked again."""
        del self._conversations[key]
        self._plan.leave(key)
        self._changed.set()

    def _askable(self, sources: Iterable[bytes], now: float) -> list[bytes]:
        return self._reputation.askable(
            (key for key in sources if key not in self._conversations), now
        )

    def _in_need(self, now: float) -> bool:
        """Whether the peers do not deliver."""
        silent = not self._conversations or now - self._last_byte_at > SEEDS_AFTER
        return self._looked and silent and self._plan.stuck(now)

    def _make_room(self, candidates: Sequence[bytes], now: float) -> None:
        """Drop a source that does nothing if a candidate is no worse."""
        idler = self._plan.superfluous(now)
        if idler is None or not candidates:
            return
        if self._reputation.strikes(candidates[0]) <= self._reputation.strikes(idler) + 1:
            self._reputation.failed(idler, now)
            self._conversations[idler].cancel()

    async def _hold_conversation(self, source: Source | Seed) -> None:
        """One conversation, from its opening to its end."""
        key = source.key
        try:
            async with self._open(source, partial(self._note_piece, key)) as conversation:
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
        """Request and receive until the source `key` has no missing chunk."""
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
            self._note_piece(key)
            self._reputation.delivered(key)
            await self._room.acquire()
            writing = asyncio.create_task(self._write(key, chunk, buffer, size))
            self._writes.add(writing)
            writing.add_done_callback(self._written)
            return
        self._buffers.append(buffer)

    async def _write(self, key: bytes, chunk: bytes, buffer: memoryview, size: int) -> None:
        """Keep a chunk while the next one arrives."""
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

    def _note_piece(self, source: bytes) -> None:
        self._last_byte_at = self._clock()
        self._plan.heard(source, self._last_byte_at)
