"""Rate limits of each caller, and of all together.

A token bucket per peer, one for all, and a bounded table of peers. Three rules:

* A newcomer's bucket is a quarter full: identities cost little, so they bring little.
* When the common bucket is empty, a peer whose own bucket is at least half full is still served.
  Many identities of one attacker share what is left.
* The peer that has been idle longest is forgotten first, and comes back as a newcomer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from paris_p2p.network.token_bucket import Rate, TokenBucket

MAX_PEERS = 4096
"""Peers whose buckets are remembered."""

NEWCOMER = 0.25
LIGHT = 0.5
"""Shares of a full bucket: a newcomer's level, and the level from which a peer is always served."""


@dataclass(frozen=True)
class Limit:
    """The rates of one peer and of all together."""

    each: Rate
    total: Rate


class Quota:
    """The rate limit of one resource: calls, bytes, streams.

    Parameters
    ----------
    clock : seconds of any epoch.
    peers : how many peers are remembered.
    """

    def __init__(self, clock: Callable[[], float], limit: Limit, peers: int = MAX_PEERS) -> None:
        self._clock = clock
        self._each = limit.each
        self._total = TokenBucket(limit.total, limit.total.burst, clock())
        self._peers = peers
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """Peers remembered."""
        return len(self._buckets)

    def take(self, peer: bytes, amount: float = 1.0) -> bool:
        """Charge `peer` with `amount`, if it may have that. False costs it nothing."""
        now = self._clock()
        bucket = self._bucket(peer, now)
        level = bucket.level(now)
        if amount > level:
            return False
        if not self._total.take(amount, now) and level < LIGHT * self._each.burst:
            return False
        return bucket.take(amount, now)

    def _bucket(self, peer: bytes, now: float) -> TokenBucket:
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = TokenBucket(self._each, NEWCOMER * self._each.burst, now)
        self._buckets.move_to_end(peer)
        if len(self._buckets) > self._peers:
            self._buckets.popitem(last=False)
        return bucket


@dataclass(frozen=True)
class Limits:
    """A node's limits for others. Each is four times the most that an honest peer needs.

    The measure is a peer of a run with 512 clusters that holds everything, in a swarm so small that
    every search asks every node. Every 30 s it reads 513 slots twice (claims, heads) and counts the
    providers of 1540 contents. Every 45 s it announces 1026 records, each after a search. Its user
    asks for the status once a minute. That is 175 keys a second and 4100 at once, of about 4 KiB
    each, and 25 records a second.
    """

    keys: Limit = Limit(Rate(700, 1 << 16), Rate(4000, 1 << 18))
    """Keys searched for."""
    bytes: Limit = Limit(Rate(4 << 20, 256 << 20), Rate(16 << 20, 512 << 20))
    """Bytes of records in answers."""
    records: Limit = Limit(Rate(100, 1 << 14), Rate(1000, 1 << 16))
    """Records stored with us."""
    pings: Limit = Limit(Rate(2, 64), Rate(64, 1024))
    """Pings that may update the routing table; others are only answered."""
    streams: Limit = Limit(Rate(80, 1 << 11), Rate(400, 1 << 13))
    """Streams opened to us: one for each content that a peer fetches, 20 opening at a time."""


class Quotas:
    """One node's quotas, by the names of `Limits`."""

    def __init__(
        self, clock: Callable[[], float], limits: Limits | None = None, peers: int = MAX_PEERS
    ) -> None:
        limits = limits or Limits()
        self.keys = Quota(clock, limits.keys, peers)
        self.bytes = Quota(clock, limits.bytes, peers)
        self.records = Quota(clock, limits.records, peers)
        self.pings = Quota(clock, limits.pings, peers)
        self.streams = Quota(clock, limits.streams, peers)
