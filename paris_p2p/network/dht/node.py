"""A node of the DHT: searching it, storing our records, gathering others'.

Records live on the `REPLICAS` nodes nearest to their key, and their owner re-announces them. The
calls between nodes, and their checks: `hardening.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Collection
from typing import Any

from paris_p2p.network.dht.hardening import BUCKET, REPLICAS, ParisProtocol
from paris_p2p.network.dht.light_hivemind import DHTID, DHTNode
from paris_p2p.network.dht.search import Frontier, least_told
from paris_p2p.network.dht.validator import DhtRecord
from paris_p2p.network.swarm import MAX_OWNERS

SEARCHERS = 8
"""Nodes asked at the same time during one search."""

MAX_GATHERED = 2 * MAX_OWNERS
"""Owners that a reader takes from one key. Two nodes may rightly hold different ones."""

OURS = "ours"
"""Stands for the network of our own records in our own record store."""


class ParisNode(DHTNode):  # type: ignore[misc]
    """A node of the DHT: finds the nodes near a key, stores our records, gathers others'."""

    @classmethod
    def around(cls, protocol: ParisProtocol) -> ParisNode:
        """A node that uses `protocol`, which it does not own."""
        self = cls(_initialized_with_create=True)
        self.protocol, self.node_id = protocol, protocol.node_id
        self.p2p, self.peer_id = protocol.p2p, protocol.p2p.peer_id
        self.blacklist = protocol.blacklist
        return self

    def neighbours(self) -> list[Any]:
        """The peer ids in the routing table."""
        return [
            peer
            for bucket in self.protocol.routing_table.buckets
            for peer in bucket.nodes_to_peer_id.values()
        ]

    async def explore(self) -> None:
        """Meet the nodes near our own id."""
        await self._search(self.node_id, {}, Counter())

    async def meet_through(self, peer: Any) -> bool:
        """Meet the neighbours of a node that cannot be dialled, and so is in no routing table.

        False when it does not answer as a node would.
        """
        answer = await self.protocol.call_find(peer, [self.node_id])
        if answer is None:
            return False
        _, neighbours = answer[self.node_id]
        others = (other for node, other in neighbours.items() if node != self.node_id)
        await asyncio.gather(*map(self.protocol.call_ping, others))
        return True

    async def spread(self, record: DhtRecord) -> tuple[int, int]:
        """Store our own record here and at the nodes nearest to its key.

        Returns how many others took it, and how many answered but refused.
        """
        self.protocol.record_store.put(record, OURS)
        candidates = deque(await self._nearest_to(record.key))
        taken = refused = 0
        pending: set[asyncio.Task[bool | None]] = set()
        while pending or (candidates and taken < REPLICAS):
            while candidates and taken + len(pending) < REPLICAS:
                put = self.protocol.call_put(candidates.popleft(), record)
                pending.add(asyncio.create_task(put))
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            answers = [task.result() for task in done]
            taken += answers.count(True)
            refused += answers.count(False)
        return taken, refused

    async def gather(self, key: bytes, found: dict[bytes, DhtRecord]) -> None:
        """Collect every owner's latest record under `key` into `found`, from all nodes near it.

        `found` is filled as answers come in, so a caller that times out keeps them. Of more owners
        than MAX_GATHERED, those that the most nodes reported are kept.
        """
        told: Counter[bytes] = Counter()
        _merge(found, told, self.protocol.record_store.under(key))
        try:
            await self._search(DHTID.from_bytes(key), found, told)
        finally:
            for owner in least_told(told, MAX_GATHERED, random.SystemRandom()):
                found.pop(owner, None)

    async def _nearest_to(self, key: bytes) -> list[Any]:
        """Peer ids of the live nodes nearest to `key`, nearest first.

        We search for the key with its last bit flipped: the neighbourhood is the same, but nodes do
        not send us the records that they hold.
        """
        return await self._search(DHTID(DHTID.from_bytes(key) ^ 1), {}, Counter())

    async def _search(
        self, place: Any, found: dict[bytes, DhtRecord], told: Counter[bytes]
    ) -> list[Any]:
        """The peer ids of the live nodes nearest to `place`. Records go to `found`, and the number
        of nodes that reported each owner to `told`."""
        frontier: Frontier[Any] = Frontier(place, BUCKET)
        frontier.add(dict(self.protocol.routing_table.get_nearest_neighbors(place, BUCKET)))

        async def ask(node: int, peer: Any) -> None:
            answer = await self._call_find_with_blacklist(peer, [place])
            if answer is not None:
                records, neighbours = answer[place]
                _merge(found, told, records or ())
                frontier.answered(node)
                frontier.add({n: p for n, p in neighbours.items() if n != self.node_id})

        asking: set[asyncio.Task[None]] = set()
        while True:
            while len(asking) < SEARCHERS and (candidate := frontier.next()):
                asking.add(asyncio.create_task(ask(*candidate)))
            if not asking:
                return frontier.nearest()
            _, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)


def _merge(
    found: dict[bytes, DhtRecord], told: Counter[bytes], records: Collection[DhtRecord]
) -> None:
    told.update({record.owner for record in records})
    for record in records:
        old = found.get(record.owner)
        if old is None or old.expires < record.expires:
            found[record.owner] = record
