"""Reading the whole store again and again, slowly, to find damage while it can be healed.

A chunk that nobody asks for is never read, so its damage would go unnoticed. A scrub removes the
damaged chunks. This peer stops announcing their content, and replication fetches them again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice

from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.store.blobs import Blobs

log = logging.getLogger(__name__)

PERIOD = 10.0
PIECES = 16
"""Pieces of at most 1 MiB read per PERIOD: at most 1.7 MB/s, 50 GB in about nine hours."""


class Scrub:
    """Walks through one store in a circle, PIECES steps per call."""

    def __init__(self) -> None:
        self._rest: Iterator[bool] = iter(())

    async def __call__(self, node: Node[Membership]) -> None:
        """Read a few pieces. If one is damaged, at once announce only content that is complete."""
        damaged = await asyncio.to_thread(self._step, node.blobs)
        if damaged:
            log.error("%d damaged pieces removed from the store: is the disk failing?", damaged)
            for membership in list(node.memberships.values()):
                await membership.announcer.everything()

    def _step(self, blobs: Blobs) -> int:
        pieces = list(islice(self._rest, PIECES))
        if len(pieces) < PIECES:
            self._rest = blobs.scrub()
        return pieces.count(False)
