"""Our own records in the DHT: signed, stored, withdrawn, and stored again where missing."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from paris_p2p.network.dht.hardening import REPLICAS, node_id_of
from paris_p2p.network.dht.light_hivemind import DHTID
from paris_p2p.network.dht.validator import DhtRecord, key_digest, sign_record
from paris_p2p.network.host import Host
from paris_p2p.network.swarm import MAX_LIFE, Entry, Expirations, check_record

LOOKUP_TIMEOUT = 20.0
STORE_TIMEOUT = 30.0

TOMBSTONE_LIFE = 300.0
"""Seconds a tombstone lives when we do not know the record it replaces."""


DOUBLED = 3600.0
"""Seconds for which another node under our key is remembered."""


class OwnRecords:
    """Stores our own records and looks up everybody's.

    Parameters
    ----------
    clock : seconds of any epoch that never go back.
    """

    def __init__(self, host: Host, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._identity = host.listen_config.identity
        self._expirations = Expirations()
        self._mine: dict[str, DhtRecord] = {}
        self._near: dict[str, frozenset[int]] = {}
        self._unsaid: dict[str, float] = {}
        self._doubled_at = -math.inf

    async def store(self, key: str, value: bytes, expires: float) -> bool:
        """See `Swarm.store`."""
        check_record(key, value, expires, time.time())
        if expires <= time.time():
            return False
        await self._host.until_ready()
        later = self._expirations.following(key, expires, time.time())
        taken = False
        with suppress(TimeoutError):
            async with asyncio.timeout(STORE_TIMEOUT):
                taken = await self._say(key, value, later)
        return taken or not self._host.neighbours()

    async def withdraw(self, key: str) -> None:
        """See `Swarm.withdraw`."""
        expires = self._expirations.last(key) or time.time() + TOMBSTONE_LIFE
        await self.store(key, b"", min(expires, time.time() + MAX_LIFE))

    async def lookup(self, key: str) -> list[Entry]:
        """See `Swarm.lookup`."""
        found = await self._gather(key)
        self._note_double(key, found.get(self._identity.author))
        now = time.time()
        entries = (Entry(r.owner, r.value, r.expires) for r in found.values() if r.expires > now)
        return sorted((entry for entry in entries if entry.value), key=lambda entry: entry.owner)

    def doubled(self) -> bool:
        """See `Swarm.doubled`."""
        return self._clock() - self._doubled_at < DOUBLED

    def _note_double(self, key: str, found: DhtRecord | None) -> None:
        """Notice another node that stores under our key: its record is newer, and is renewed.

        One sighting is no proof: an earlier process of ours may have stored a later expiration.
        """
        ours = self._mine.get(key)
        if found is None or ours is None or found.expires <= ours.expires:
            return
        if found.expires > self._unsaid.get(key, math.inf):
            self._doubled_at = self._clock()
        self._unsaid[key] = found.expires

    async def say_all_again(self) -> None:
        """Store our live records again: nodes that are new may need them."""
        self.forget_expired()
        await self._say_again(list(self._mine))

    async def say_to_newcomers(self) -> None:
        """Store again the records for which nearer neighbours have appeared.

        A lookup asks the nodes nearest to the key, and nodes do not hand records on. So the owner
        must store them at new nodes, above all when two swarms merge.
        """
        self.forget_expired()
        neighbours = [int(node_id_of(peer)) for peer in self._host.neighbours()]
        await self._say_again(
            [
                key
                for key, record in self._mine.items()
                if not nearest(record.key, neighbours) <= self._near.get(key, frozenset())
            ]
        )

    def forget_expired(self) -> None:
        """Drop expired records."""
        now = time.time()
        self._expirations.forget_before(now)
        self._mine = {key: record for key, record in self._mine.items() if record.expires > now}
        self._unsaid = {key: at for key, at in self._unsaid.items() if at > now}
        self._near = {key: near for key, near in self._near.items() if key in self._mine}

    async def _say_again(self, keys: Collection[str]) -> None:
        for key in keys:
            record = self._mine.get(key)
            if record is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(STORE_TIMEOUT):
                        await self._spread(key, record)

    async def _say(self, key: str, value: bytes, expires: float) -> bool:
        """Sign and store a record of ours. True when at least one other node took it.

        A node refuses a record that is not newer than its own. An earlier process of ours may have
        stored a later expiration. Then we look it up and store once more with a later one, unless
        another value has been stored meanwhile.
        """
        taken, refused = await self._sign_and_spread(key, value, expires)
        if refused:
            newest = (await self._gather(key)).get(self._identity.author)
            replaced = self._expirations.last(key) != expires
            if newest is not None and newest.expires > expires and not replaced:
                wanted = newest.expires + Expirations.STEP
                later = self._expirations.following(key, wanted, time.time())
                taken, _ = await self._sign_and_spread(key, value, later)
        return taken > 0

    async def _sign_and_spread(self, key: str, value: bytes, expires: float) -> tuple[int, int]:
        record = sign_record(self._identity, key_digest(key), value, expires)
        self._mine[key] = record
        return await self._spread(key, record)

    async def _spread(self, key: str, record: DhtRecord) -> tuple[int, int]:
        counts = await self._host.node.spread(record)
        neighbours = (int(node_id_of(peer)) for peer in self._host.neighbours())
        self._near[key] = nearest(record.key, neighbours)
        return counts

    async def _gather(self, key: str) -> dict[bytes, DhtRecord]:
        await self._host.until_ready()
        found: dict[bytes, DhtRecord] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                await self._host.node.gather(key_digest(key), found)
        return found


def nearest(key: bytes, nodes: Iterable[int]) -> frozenset[int]:
    """Those of `nodes` that a record under `key` belongs at: the nearest REPLICAS."""
    place = int(DHTID.from_bytes(key))
    return frozenset(sorted(nodes, key=lambda node: node ^ place)[:REPLICAS])
