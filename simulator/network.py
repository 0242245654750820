"""A simulated DHT for claims: it keeps the contract of `network/swarm.py`, with faults.

Every key lies on REPLICAS peers. A request reaches each of them or is lost. A lost request delays
the answer until it times out. A partition splits the peers into two sides, and the replicas of
every key with them. A replica keeps at most MAX_OWNERS owners and drops expired records.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence

from paris_p2p.network.swarm import MAX_OWNERS, Entry, Expirations, check_record

EPOCH = 1_800_000_000.0
"""Unix time at which every simulation begins."""

REPLICAS = 4
"""Peers that hold a record. The real swarm asks for eight, and some of them are gone."""

LATENCY, LATENCY_SPREAD = 0.25, 0.6
"""Median seconds of a store or lookup, and the sigma of its lognormal: 1 % take over a second."""

LATENCY_BITS = 12
"""log2 of the number of different latencies, drawn beforehand."""

TICK = 0.01
"""Seconds to which arrivals are rounded."""

REQUEST_TIMEOUT = 3.0
"""Seconds after which the caller gives up a lost request."""

ROUTING_TABLE = 160
"""Peers that a peer knows to be alive in a large swarm: 20 for each of about 8 distances."""


class Network:
    """All keys, and the current faults."""

    def __init__(self, rng: random.Random, loss: float = 0.0) -> None:
        self._rng = rng
        self._loss = loss
        self._replicas: dict[str, list[_Replica]] = {}
        self._found: dict[str, tuple[float, list[Entry]]] = {}
        self._side: dict[bytes, int] = {}
        self._latencies = [
            LATENCY * rng.lognormvariate(0.0, LATENCY_SPREAD) for _ in range(2**LATENCY_BITS)
        ]
        self._travelling: dict[int, list[asyncio.Future[None]]] = {}
        self.alive = 0
        """Peers that are up, on either side."""
        self.requests: Counter[str] = Counter()
        """Stores and lookups made."""

    def clock(self) -> float:
        """The true Unix time, without any peer's clock error."""
        return EPOCH + asyncio.get_running_loop().time()

    def travel(self, requests: int = 1) -> asyncio.Future[None]:
        """A future that is done when `requests` requests that leave together have been answered.

        One timer serves all answers that arrive in the same TICK.
        """
        loop, bits = asyncio.get_running_loop(), self._rng.getrandbits
        slowest = max(self._latencies[bits(LATENCY_BITS)] for _ in range(requests))
        tick = 1 + int((loop.time() + slowest) / TICK)
        if tick not in self._travelling:
            self._travelling[tick] = []
            loop.call_at(tick * TICK, self._arrive, tick)
        arrival = loop.create_future()
        self._travelling[tick].append(arrival)
        return arrival

    def _arrive(self, tick: int) -> None:
        for arrival in self._travelling.pop(tick):
            if not arrival.done():
                arrival.set_result(None)

    def part(self, side: Iterable[bytes]) -> None:
        """Cut these authors off from all others."""
        self._side = dict.fromkeys(side, 1)

    def heal(self) -> None:
        self._side = {}

    def lose_holders(self, share: float) -> None:
        """Replace this share of the peers that hold records by new, empty ones."""
        self._found.clear()
        for replicas in self._replicas.values():
            for replica in replicas:
                if self._rng.random() < share:
                    replica.clear()

    def keep(self, entry: Entry, key: str, now: float) -> tuple[bool, bool]:
        """Store: whether any replica took the entry, and whether any request was lost."""
        self._found.pop(key, None)
        replicas, any_lost = self.reached(entry.owner, key)
        taken = [replica.keep(entry, now) for replica in replicas]
        return any(taken), any_lost

    def find(self, author: bytes, key: str, now: float) -> tuple[list[Entry], bool]:
        """Look up: the newest entry of each owner, and whether any request was lost.

        The replicas' entries are merged once and cached until something is stored or expires.
        """
        replicas, any_lost = self.reached(author, key)
        if len(replicas) < REPLICAS:
            return _newest(replicas, now), any_lost
        until, entries = self._found.get(key, (0.0, []))
        if until <= now:
            entries = _newest(replicas, now)
            until = min((entry.expires for entry in entries), default=math.inf)
            self._found[key] = until, entries
        return entries, any_lost

    def reached(self, author: bytes, key: str) -> tuple[list[_Replica], bool]:
        """The replicas of a key that a request of `author` reaches; whether any was lost."""
        replicas = self._replicas.get(key)
        if replicas is None:
            replicas = self._replicas[key] = [_Replica() for _ in range(REPLICAS)]
        if self._side:
            replicas = replicas[self._side.get(author, 0) :: 2]
        if not self._loss:
            return replicas, False
        got = [replica for replica in replicas if self._rng.random() >= self._loss]
        return got, len(got) < len(replicas)


class ClaimSwarm:
    """One peer's view of the network: the methods of `Swarm` that leases need."""

    def __init__(self, network: Network, author: bytes, skew: float = 0.0) -> None:
        self._network = network
        self._author = author
        self._skew = skew
        self._expirations = Expirations()
        self._down = False

    def clock(self) -> float:
        """Unix time by this peer's clock."""
        return self._network.clock() + self._skew

    def fail(self) -> None:
        """The peer is gone, as by kill -9: its later stores have no effect."""
        self._down = True

    def peers(self) -> int:
        return min(self._network.alive, ROUTING_TABLE)

    async def store(self, key: str, value: bytes, expires: float) -> bool:
        check_record(key, value, expires, self.clock())
        later = self._expirations.following(key, expires, self.clock())
        entry = Entry(self._author, value, later)
        self._network.requests["stores"] += 1
        await self._network.travel()
        if self._down:
            return False
        taken, any_lost = self._network.keep(entry, key, self._network.clock())
        if any_lost:
            await asyncio.sleep(REQUEST_TIMEOUT)
        return taken

    async def withdraw(self, key: str) -> None:
        last = self._expirations.last(key)
        if last is not None:
            await self.store(key, b"", last)

    async def lookup(self, key: str) -> list[Entry]:
        return await (await self.look([key])).lookup(key)

    async def look(self, keys: Sequence[str]) -> Answers:
        """Look up several keys at the same time."""
        network = self._network
        network.requests["lookups"] += len(keys)
        await network.travel(len(keys))
        now = network.clock()
        found = {key: network.find(self._author, key, now) for key in keys}
        if any(lost for _, lost in found.values()):
            await asyncio.sleep(REQUEST_TIMEOUT)
        return Answers({key: entries for key, (entries, _) in found.items()})


class Answers:
    """The results for several keys, to be looked up without waiting again."""

    def __init__(self, found: dict[str, list[Entry]]) -> None:
        self._found = found

    async def lookup(self, key: str) -> list[Entry]:
        return self._found[key]


class _Replica:
    """The entries that one peer holds under one key."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}

    def clear(self) -> None:
        self._entries.clear()

    def keep(self, entry: Entry, now: float) -> bool:
        """Take an entry, unless a later one is here or the key is full."""
        known = self._entries.get(entry.owner)
        if known is None and len(self._entries) >= MAX_OWNERS:
            self._make_room(now)
            if len(self._entries) >= MAX_OWNERS:
                return False
        if known is not None and known.expires >= entry.expires:
            return False
        self._entries[entry.owner] = entry
        return True

    def show(self, newest: dict[bytes, Entry], now: float) -> None:
        """Put into `newest` the live entries that are later than those it has."""
        for owner, entry in self._entries.items():
            known = newest.get(owner)
            if entry.expires > now and (known is None or known.expires < entry.expires):
                newest[owner] = entry

    def _make_room(self, now: float) -> None:
        """Drop expired and withdrawn entries."""
        kept = {owner: e for owner, e in self._entries.items() if e.value and e.expires > now}
        self._entries = kept


def _newest(replicas: Iterable[_Replica], now: float) -> list[Entry]:
    """The live entries of all replicas: the latest of each owner, sorted by owner."""
    newest: dict[bytes, Entry] = {}
    for replica in replicas:
        replica.show(newest, now)
    return [newest[owner] for owner in sorted(newest) if newest[owner].value]
