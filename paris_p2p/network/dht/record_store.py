"""The records that a DHT node keeps for other peers, bounded in every direction.

* Of one owner's records under one key, the later expiration wins. A refused older record changes
  nothing, not even the newer one's life.
* The records of an owner, the owners under a key, and the whole store are limited. So downloads of
  readers and the memory of a node stay small.
* When a limit is reached, places are shared by network, because identities cost nothing and
  addresses do. A newcomer takes a random place from the network (see `subnets`) that has the most,
  if that leaves this network no fewer than the newcomer's own. Within one network an owner keeps
  its place while it renews the record, and may lose it LAPSE seconds after the last renewal: a
  record that lives an hour does not hold a place for an hour. Tombstones go first: readers do not
  see them, so they must not keep live records out.
* The wall clock decides only what has expired, because it may be set back. A record that expires
  later than any can live was stored before that, and counts as expired.

So an attacker that fills a key or the store from one address displaces only records from that
address. SECURITY.md says what many addresses, and so many networks, can do.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from paris_p2p.network.dht.validator import DhtRecord, may_live_until
from paris_p2p.network.swarm import MAX_OWNERS

Clock = Callable[[], float]

LAPSE = 300.0
"""Seconds after its last renewal when a record may be displaced; peers renew every 45 s."""

NEARLY_FULL = 0.9
ROOM_MADE = 64
"""The share of its limits above which a store drops spare records; and how many records of a crowd
a full store drops together. Finding either reads the whole store, so it is done rarely."""


@dataclass(frozen=True)
class Allowance:
    """How much a node keeps. Sizes in bytes."""

    owners_per_key: int = MAX_OWNERS
    records_per_owner: int = 4096
    total_records: int = 50_000
    total_bytes: int = 64 << 20


@dataclass(frozen=True)
class _Place:
    """A held record, the network it came from, and when it was last renewed."""

    record: DhtRecord
    network: str
    renewed: float


@dataclass(frozen=True)
class _Moment:
    """Now, by the wall clock and by a clock that never goes back."""

    wall: float
    steady: float


class RecordStore:
    """Records by key and owner, until they expire.

    Parameters
    ----------
    clock : Unix seconds.
    steady : seconds of any epoch that never go back.
    """

    def __init__(
        self,
        clock: Clock,
        allowance: Allowance | None = None,
        rng: random.Random | None = None,
        steady: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._allowance = allowance or Allowance()
        self._rng = rng or random.SystemRandom()
        self._places: dict[bytes, dict[bytes, _Place]] = {}
        self._held: Counter[bytes] = Counter()
        self._shares: Counter[str] = Counter()
        self._count = 0
        self._bytes = 0
        self._next_sweep = steady()

    def __len__(self) -> int:
        return self._count

    def put(self, record: DhtRecord, network: str = "") -> bool:
        """Keep a validated record that came from `network` ("" if unknown).

        False when it has expired, is not newer, or finds no place. True for a record that is held
        already: its owner may store one record twice at a time.
        """
        self._sweep()
        now = self._now()
        if not _is_alive(record, now):
            return False
        old = self._places.get(record.key, {}).get(record.owner)
        if old and _is_alive(old.record, now) and old.record.expires >= record.expires:
            return old.record == record
        if old is None and not self._make_room(record, network):
            return False
        if old is not None:
            if not self._fits(record, instead_of=old.record):
                return False
            self._drop(old)
        self._keep(_Place(record, network, now.steady))
        return True

    def under(self, key: bytes) -> list[DhtRecord]:
        """The live records under `key`."""
        now = self._now()
        places = self._places.get(key, {}).values()
        return [place.record for place in places if _is_alive(place.record, now)]

    def _now(self) -> _Moment:
        return _Moment(self._clock(), self._steady())

    def _make_room(self, record: DhtRecord, network: str) -> bool:
        """Make room for one more record. False if there is none."""
        if self._held[record.owner] >= self._allowance.records_per_owner:
            return False
        under_key = self._places.get(record.key, {})
        if len(under_key) >= self._allowance.owners_per_key:
            chosen = displaced(list(under_key.values()), network, self._now(), self._rng)
            return self._drop_all(chosen)
        while not self._fits(record):
            if not self._drop_all(self._of_crowd(network)):
                return False
        return True

    def _of_crowd(self, network: str) -> list[_Place]:
        """Places in the whole store that give way to newcomers from `network`."""
        crowd, surplus = _crowd(self._shares, network)
        if surplus <= 0:
            return []
        everything = (place for places in self._places.values() for place in places.values())
        of_crowd = [place for place in everything if place.network == crowd]
        return self._rng.sample(of_crowd, min(ROOM_MADE, surplus))

    def _fits(self, record: DhtRecord, instead_of: DhtRecord | None = None) -> bool:
        count = self._count - (instead_of is not None)
        size = self._bytes - (instead_of.size if instead_of else 0)
        allowed = self._allowance
        return count < allowed.total_records and size + record.size <= allowed.total_bytes

    def _drop_all(self, chosen: list[_Place]) -> bool:
        """Drop these; returns whether there were any."""
        for place in chosen:
            self._drop(place)
        return bool(chosen)

    def _sweep(self) -> None:
        """Drop expired records, and spare ones if nearly full; at most once a second."""
        now = self._now()
        if now.steady < self._next_sweep:
            return
        self._next_sweep = now.steady + 1.0
        full = self._count > NEARLY_FULL * self._allowance.total_records or (
            self._bytes > NEARLY_FULL * self._allowance.total_bytes
        )
        everything = (place for places in self._places.values() for place in places.values())
        self._drop_all(
            [p for p in everything if not _is_alive(p.record, now) or (full and _is_spare(p, now))]
        )

    def _keep(self, place: _Place) -> None:
        record = place.record
        self._places.setdefault(record.key, {})[record.owner] = place
        self._held[record.owner] += 1
        self._shares[place.network] += 1
        self._count += 1
        self._bytes += record.size

    def _drop(self, place: _Place) -> None:
        record = place.record
        places = self._places[record.key]
        del places[record.owner]
        if not places:
            del self._places[record.key]
        self._count -= 1
        self._bytes -= record.size
        self._held[record.owner] -= 1
        if not self._held[record.owner]:
            del self._held[record.owner]
        self._shares[place.network] -= 1
        if not self._shares[place.network]:
            del self._shares[place.network]


def displaced(places: list[_Place], network: str, now: _Moment, rng: random.Random) -> list[_Place]:
    """The one place, of all that a key has, that gives way to a newcomer from `network`.

    Empty when no network has more than the newcomer's and all records are renewed.
    """
    spare = [place for place in places if _is_spare(place, now)]
    if not spare:
        crowd, surplus = _crowd(Counter(place.network for place in places), network)
        spare = [place for place in places if surplus > 0 and place.network == crowd]
    return [rng.choice(spare)] if spare else []


def _crowd(shares: Counter[str], network: str) -> tuple[str, int]:
    """The network with the most places, and how many of them `network` may take."""
    crowd, size = max(shares.items(), key=lambda item: item[1], default=("", 0))
    return crowd, (size - shares[network]) // 2


def _is_alive(record: DhtRecord, now: _Moment) -> bool:
    return now.wall < record.expires and may_live_until(record.expires, now.wall)


def _is_spare(place: _Place, now: _Moment) -> bool:
    lapsed = now.steady - place.renewed > LAPSE or not _is_alive(place.record, now)
    return lapsed or place.record.is_tombstone
