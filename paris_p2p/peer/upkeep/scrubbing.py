"""Reading the whole store again and again, slowly, so that damage is found while it can be healed.

A chunk that nobody asks for is never read, and a disk that forgets it says nothing. What a scrub
finds damaged it removes: this peer stops announcing the content, and fetches the chunk again from
others when it replicates.
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
"""Pieces of at most 1 MiB read each time: at most 1.7 MB/s, a store of 50 GB in some nine hours."""


class Scrub:
    """Walks round and round through one store, PIECES steps each time it is called."""

    def __init__(self) -> None:
        self._rest: Iterator[bool] = iter(())

    async def __call__(self, node: Node[Membership]) -> None:
        """Read a few pieces; where one is damaged, announce at once only what is still whole."""
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
