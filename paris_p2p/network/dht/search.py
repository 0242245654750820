"""Kademlia's iterative search for the nodes nearest to a place in the DHT; no I/O.

Ask the nearest known node, learn of nearer ones, until the nearest have all answered. Only nodes
that answer count. hivemind's own search also counts nodes that were only named to it, so a single
liar could crowd out every real node with made-up neighbours. Here a liar only costs us time, which
`MAX_ASKED` bounds.
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
    """The known nodes near `place`: those that have answered, and those still to ask.

    A node is an integer id; its distance is the XOR of id and place.
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
        """The nearest node not asked yet; None while no node is worth asking."""
        if not self._unasked or self._asked >= MAX_ASKED:
            return None
        if len(self._answered) >= self._width and self._unasked[0] > self._answered[-1]:
            return None
        self._asked += 1
        distance = heapq.heappop(self._unasked)
        return self._place ^ distance, self._peers[distance]

    def answered(self, node: int) -> None:
        """Note that a node has answered."""
        self._answered = sorted([*self._answered, self._place ^ node])[: self._width]

    def nearest(self) -> list[Peer]:
        """The nearest nodes that have answered, nearest first, `width` at most."""
        return [self._peers[distance] for distance in self._answered]


def least_told(told: Counter[Owner], most: int, rng: random.Random) -> list[Owner]:
    """All but the `most` owners that the most nodes have reported.

    Signing a record needs no connection, so one liar can report any number of owners that no other
    node knows. Ties are broken at random, so that grinding a key gains nothing.
    """
    ranked = rng.sample(list(told), len(told))
    return sorted(ranked, key=lambda owner: -told[owner])[most:]
