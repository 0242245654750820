"""Sets of owners too wide for one key, spread over a tree of keys.

Peers keep at most `MAX_OWNERS` owners under a key. A wider set lies on *pages*, a binary tree of
keys of bounded depth. The first page is the key itself; every page has two more under it. The bits
of the BLAKE3 of key and owner choose between them, so every owner has one path down the tree.

    announce    on the first page of the path that takes the record, beginning one above the current
                one. An owner keeps its place by renewing it, so it does not hop. A place that falls
                free above goes to the first owner that renews.
    read        a page and, if it shows `POPULATED` owners or more, the two under it.

Why this design:

* Where an owner announces depends on a free place, not on a count. Counts can be forged, places
  cannot. A flood of made-up owners fills pages and pushes others down, but full pages make readers
  go on. Every page that a flood wants read costs it `POPULATED` identities. (`dht/record_store`
  decides whether a newcomer displaces an owner of a full page; that owner then goes further down.)
* A small set costs one store and one lookup, as without pages.
* A page that empties slowly is refilled from below at each round. One that empties at once (only
  identities of one attacker expire together) hides the pages under it until their owners have had
  as many rounds as they are levels deep.
* If its whole path is full, an owner tries again after 1, 2, 4, 8 rounds on average. So the DHT's
  contents and load stay bounded, however many owners announce.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict

from paris_p2p.network.swarm import MAX_OWNERS, Entry, Swarm
from paris_p2p.records.manifest import content_id

POPULATED = MAX_OWNERS // 2
"""Owners on a page that make readers look under it."""

MOST_ROUNDS_SKIPPED = 8
"""Rounds, on average, between two attempts of an owner that never found a place."""


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
        """Store `value` under `key` until `expires`, on the first page that has a place.

        False when no page has one, or when this round is skipped because none had. Errors are those
        of `Swarm.store`.
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
        """Withdraw our record under `key` from every page."""
        self._level.pop(key, None)
        self._forgive(key)
        for page in sorted(self._said.pop(key, set())):
            await self._swarm.withdraw(page)

    def says(self, key: str) -> bool:
        """Whether we have a record under `key` that is not withdrawn."""
        return key in self._said

    def keys(self) -> set[str]:
        """The keys under which we have a record that is not withdrawn."""
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
    """The live entries of all owners under `key` on any page, sorted by owner.

    `depth` as in `KeyPages`. Raises `Unreachable` while our own libp2p is down.
    """
    newest: dict[bytes, Entry] = {}
    for entry in await _read_from(swarm, key, "", depth):
        known = newest.get(entry.owner)
        if known is None or known.expires < entry.expires:
            newest[entry.owner] = entry
    return [newest[owner] for owner in sorted(newest)]


async def _read_from(swarm: Swarm, key: str, turns: str, depth: int) -> list[Entry]:
    """The entries on one page and on those under it."""
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
    """The DHT key of the page reached from the first one by these turns."""
    return f"{key}/{turns}" if turns else key
