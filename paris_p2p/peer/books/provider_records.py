"""A node's provider records: one per content, however many of its runs name it."""

from __future__ import annotations

import random

from paris_p2p.network.key_pages import KeyPages
from paris_p2p.network.swarm import Swarm
from paris_p2p.records.keys import SHARED_LEVELS, providers_key


class ProviderRecords:
    """The provider records of one node for its runs. Errors are those of `KeyPages`."""

    def __init__(self, swarm: Swarm, rng: random.Random) -> None:
        self._pages = KeyPages(swarm, SHARED_LEVELS, rng)
        self._runs: dict[bytes, dict[bytes, None]] = {}

    def of(self, run: bytes) -> set[bytes]:
        """The contents that are announced for a run."""
        return {content for content, runs in self._runs.items() if run in runs}

    async def tell(self, content: bytes, run: bytes, presence: bytes, expires: float) -> None:
        """Announce until `expires` (Unix seconds) that this node serves a content of a run.

        Only the first run that names the content stores the record.
        """
        runs = self._runs.setdefault(content, {})
        runs.setdefault(run)
        if next(iter(runs)) == run:
            await self._pages.store(providers_key(content), presence, expires)

    async def take_back(self, content: bytes, run: bytes) -> None:
        """Drop a content for a run. The record is withdrawn if no other run announces it."""
        runs = self._runs.get(content, {})
        runs.pop(run, None)
        if not runs:
            self._runs.pop(content, None)
            await self._pages.withdraw(providers_key(content))
