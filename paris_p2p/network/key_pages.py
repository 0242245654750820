"""Sets of owners too wide for one key, spread over a tree of keys.

Peers keep at most `MAX_OWNERS` owners under a key. A wider set lies on *pages*: the first is the
key itself, and under every page there are two more, down to a depth that bounds them all. Which
of the two is an owner's own is told by a bit of the BLAKE3 of key and owner, so every owner has
one path down the tree.

    announce    at the page above one's own, else at one's own, else further down the path: the
                first that takes the record. A place is kept by renewing it, so nobody hops; a
                place that falls free above is taken by whoever renews first.
    read        a page and, where it shows `POPULATED` owners or more, the two under it.

Why this and not another way:

* No count decides where to announce, only whether there is a place. Counts can be forged, places
  cannot: a flood of made-up owners fills pages and sends others further down, and what it fills is
  what makes readers go on. Every page it wants read costs it `POPULATED` identities. (Which place a
  full page may give to a newcomer is `dht/record_store`'s to say; who lost one goes further down.)
* A small set costs one store and one lookup, as without pages.
* A page that empties bit by bit is filled again from below while it does, at each round of those
  below. One that empties at once (only identities of one hand expire together) hides what lies
  under it until the owners there have had as many rounds as they lie deep.
* Where the whole path is full, an owner tries again after 1, 2, 4, 8 rounds on average: however
  many want to announce, what the DHT holds and what it is asked stay bounded.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict

from paris_p2p.network.swarm import MAX_OWNERS, Entry, Swarm
from paris_p2p.records.manifest import content_id

POPULATED = MAX_OWNERS // 2
"""Owners on a page from which on readers look under it."""

MOST_ROUNDS_SKIPPED = 8
"""Rounds, on average, between two attempts of an owner for whom there was never a place."""


class KeyPages:
    """One owner's records under keys that many owners share.

    Parameters
    ----------
    depth : levels of pages under the key; 0 for the key alone. Readers must use the same.
    """

    def __init__(self, swarm: Swarm, depth: int, rng: random.Random) -> None:
        self._swarm = swarm
        self._depth = depth
        self._rng = rng
        self._level: dict[str, int] = {}
        self._said: defaultdict[str, set[str]] = defaultdict(set)
        self._refusals: Counter[str] = Counter()
        self._skip: Counter[str] = Counter()

    async def store(self, key: str, value: bytes, expires: float) -> bool:
        """Say `value` under `key` until `expires`, on whichever page has a place.

        False when none has, or when this round is skipped because none had. Errors are those of
        `Swarm.store`.
        """
        if self._skip[key] > 0:
            self._skip[key] -= 1
            return False
        path = _path(key, self._swarm.author, self._depth)
        highest = max(0, self._level.get(key, 0) - 1)
        for level in range(highest, len(path)):
            if await self._swarm.store(path[level], value, expires):
                self._placed(key, path[level], level)
                return True
        self._refused(key)
        return False

    async def withdraw(self, key: str) -> None:
        """Take back what was said under `key`, wherever it lies."""
        self._level.pop(key, None)
        self._forgive(key)
        for page in sorted(self._said.pop(key, set())):
            await self._swarm.withdraw(page)

    def says(self, key: str) -> bool:
        """Whether something was said under `key` and not taken back."""
        return key in self._said

    def keys(self) -> set[str]:
        """The keys under which something was said and not taken back."""
        return set(self._said)

    def _placed(self, key: str, page: str, level: int) -> None:
        self._level[key] = level
        self._said[key].add(page)
        self._forgive(key)

    def _forgive(self, key: str) -> None:
        del self._refusals[key], self._skip[key]

    def _refused(self, key: str) -> None:
        self._level.pop(key, None)
        most = min(2 ** self._refusals[key], MOST_ROUNDS_SKIPPED)
        self._refusals[key] += 1
        self._skip[key] = self._rng.randint(1, 2 * most - 1)


async def read_pages(swarm: Swarm, key: str, depth: int) -> list[Entry]:
    """Everything any owner says under `key` on any page now, sorted by owner.

    `depth` as in `KeyPages`. Raises `Unreachable` while our own libp2p is down.
    """
    newest: dict[bytes, Entry] = {}
    for entry in await _read_from(swarm, key, "", depth):
        known = newest.get(entry.owner)
        if known is None or known.expires < entry.expires:
            newest[entry.owner] = entry
    return [newest[owner] for owner in sorted(newest)]


async def _read_from(swarm: Swarm, key: str, turns: str, depth: int) -> list[Entry]:
    """What lies on one page and on those under it."""
    here = await swarm.lookup(_page(key, turns))
    if len(here) < POPULATED or len(turns) == depth:
        return here
    left, right = await asyncio.gather(
        *(_read_from(swarm, key, turns + turn, depth) for turn in "01")
    )
    return [*here, *left, *right]


def _path(key: str, owner: bytes, depth: int) -> list[str]:
    """An owner's pages, from the first to the deepest."""
    bits = f"{int.from_bytes(content_id(key.encode() + owner)):0256b}"
    return [_page(key, bits[:level]) for level in range(depth + 1)]


def _page(key: str, turns: str) -> str:
    """The DHT key of the page that is reached from the first one by these turns."""
    return f"{key}/{turns}" if turns else key
