"""Whom to ask next when looking for the nodes nearest to a place in the DHT; no I/O.

Kademlia's search: ask the nearest node known, learn of nearer ones, until the nearest have all
answered. Only nodes that answer count. hivemind's own search also counts nodes that were merely
named to it, so a single liar could crowd every real node out with neighbours that it made up;
here it costs us the time to find nobody there, and `MAX_ASKED` bounds that.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Mapping
from typing import Generic, TypeVar

Peer = TypeVar("Peer")
Owner = TypeVar("Owner")

MAX_ASKED = 128
"""Nodes asked in one search, answering or not."""


class Frontier(Generic[Peer]):
    """The known edge of the neighbourhood of `place`: who has answered, who is to be asked.

    A node is an integer id; nodes are near when the XOR of id and place is small.
    """

    def __init__(self, place: int, width: int) -> None:
        self._place = place
        self._width = width
        self._peers: dict[int, Peer] = {}
        self._unasked: list[int] = []  # a heap of distances
        self._answered: list[int] = []  # sorted distances
        self._asked = 0

    def add(self, nodes: Mapping[int, Peer]) -> None:
        """Learn of nodes that may exist."""
        for node, peer in nodes.items():
            distance = self._place ^ node
            if distance not in self._peers:
                self._peers[distance] = peer
                heapq.heappush(self._unasked, distance)

    def next(self) -> tuple[int, Peer] | None:
        """The nearest node not asked yet; None while nobody is worth asking."""
        if not self._unasked or self._asked >= MAX_ASKED:
            return None
        if len(self._answered) >= self._width and self._unasked[0] > self._answered[-1]:
            return None
        self._asked += 1
        distance = heapq.heappop(self._unasked)
        return self._place ^ distance, self._peers[distance]

    def answered(self, node: int) -> None:
        """A node exists."""
        self._answered = sorted([*self._answered, self._place ^ node])[: self._width]

    def nearest(self) -> list[Peer]:
        """The nearest nodes that have answered, nearest first, `width` at most."""
        return [self._peers[distance] for distance in self._answered]


def least_told(told: Counter[Owner], most: int, rng: random.Random) -> list[Owner]:
    """All but the `most` owners that the most nodes have told of.

    A record needs no connection to be signed, so one liar can tell of any number of owners that
    nobody else has heard of. Equals are drawn by lot: no key is ground to come first.
    """
    ranked = rng.sample(list(told), len(told))
    return sorted(ranked, key=lambda owner: -told[owner])[most:]
