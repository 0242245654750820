"""Hand-overs of keys: kept in the home, told to the swarm, and followed.

The first hand-over of a key that is seen is kept for good (`records/handover.py` says why). When a
peer sees several at once it keeps none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable
from pathlib import Path

from paris_p2p.errors import BadContent, ParisError
from paris_p2p.home import write_atomically
from paris_p2p.identity import Author, Identity, peer_id_of
from paris_p2p.network.swarm import Swarm
from paris_p2p.records.codec import decode, encode
from paris_p2p.records.handover import MAX_CHAIN, Handover, ancestry
from paris_p2p.records.keys import handovers_key

log = logging.getLogger(__name__)

LIFE = 900.0
PERIOD = 300.0
"""Seconds an announced hand-over lives, and after which it is announced again."""

CONCURRENT = 8
CHAIN_LIMIT = 1 << 14
"""Bytes of an encoded chain of hand-overs."""


class HandoverBook:
    """The one hand-over of every old key that this home believes, a sealed record a file.

    Safe for threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changing = threading.Lock()
        self._sealed: dict[Author, tuple[Handover, bytes]] = {}
        for path in sorted(folder.glob("*.handover")):
            with contextlib.suppress(BadContent):
                sealed = path.read_bytes()
                handover = Handover.unseal(sealed)
                self._sealed[handover.old] = (handover, sealed)

    def all(self) -> list[Handover]:
        return [handover for handover, _ in self.sealed()]

    def heir(self, old: Author) -> Author | None:
        """Who took over from `old`, as first seen."""
        known = self._sealed.get(old)
        return known[0].author if known else None

    def keep(self, sealed: bytes) -> Handover:
        """Believe a hand-over, this home's own, whatever was believed of the old key before."""
        with self._changing:
            return self._keep(sealed)

    def settle(self, old: Author, seen: Iterable[bytes]) -> None:
        """Believe the hand-over of `old` among what is seen at the same time, if there is one.

        Several that differ in the heir are a contest: a warning, and none of them is believed.
        """
        claims = {handover.author: sealed for handover, sealed in _of(old, seen)}
        with self._changing:
            if old in self._sealed:
                return
            if len(claims) == 1:
                self._keep(*claims.values())
                return
        if claims:
            log.warning("%s is handed over to several keys; none of them counts", peer_id_of(old))

    def ancestry(self, author: Author) -> bytes:
        """The chain that led to `author`, in the form that `keep_chain` takes."""
        believed = self.sealed()
        sealed = {handover.old: record for handover, record in believed}
        chain = ancestry(author, [handover for handover, _ in believed])
        return encode([sealed[handover.old] for handover in chain])

    def keep_chain(self, chain: bytes) -> None:
        """Believe this home's own chain, from a backup. BadContent when it is none."""
        listed = decode(chain, CHAIN_LIMIT) if chain else []
        if not isinstance(listed, list) or not all(isinstance(item, bytes) for item in listed):
            raise BadContent("not a chain of hand-overs")
        for sealed in listed:
            self.keep(sealed)

    def sealed(self) -> list[tuple[Handover, bytes]]:
        with self._changing:
            return list(self._sealed.values())

    def _keep(self, sealed: bytes) -> Handover:
        handover = Handover.unseal(sealed)
        write_atomically(self._folder / f"{handover.old.hex()}.handover", sealed)
        self._sealed[handover.old] = (handover, sealed)
        return handover


def hand_over(
    book: HandoverBook, old: Identity, new: Identity, created: float, reason: str
) -> Handover:
    """Have `new` take over from `old` in this home's book, at `created` (Unix s)."""
    return book.keep(Handover.between(old, new, created, reason).seal(new))


async def announce(swarm: Swarm, author: Author, book: HandoverBook, now: float) -> None:
    """Tell the swarm every hand-over that this home believes: it outlives its author's peer.

    One that `author` itself has signed is left out: its rotation was cut short.
    """
    told = [(handover, sealed) for handover, sealed in book.sealed() if handover.old != author]
    places = asyncio.Semaphore(CONCURRENT)

    async def store(old: Author, sealed: bytes) -> None:
        async with places:
            await swarm.store(handovers_key(old), sealed, now + LIFE)

    results = await asyncio.gather(
        *(store(handover.old, sealed) for handover, sealed in told), return_exceptions=True
    )
    for failure in results:
        if isinstance(failure, BaseException) and not isinstance(failure, ParisError):
            raise failure


async def follow(swarm: Swarm, book: HandoverBook, authors: Iterable[Author]) -> None:
    """Learn from the swarm who took over from `authors`, and from their heirs."""
    places = asyncio.Semaphore(CONCURRENT)

    async def walk(author: Author) -> None:
        for _ in range(MAX_CHAIN):
            if book.heir(author) is None:
                async with places:
                    seen = [entry.value for entry in await swarm.lookup(handovers_key(author))]
                await asyncio.to_thread(book.settle, author, seen)
            heir = book.heir(author)
            if heir is None:
                return
            author = heir

    await asyncio.gather(*map(walk, authors))


def _of(old: Author, seen: Iterable[bytes]) -> Iterable[tuple[Handover, bytes]]:
    """The sound hand-overs of one key among what anybody said."""
    for sealed in seen:
        with contextlib.suppress(BadContent):
            handover = Handover.unseal(sealed)
            if handover.old == old:
                yield handover, sealed
