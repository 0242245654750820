"""hivemind's tables, bounded. Strangers can make each original grow for ever.

BoundedBlacklist   bounded in number and in time
BoundedTable       bounds the replacement nodes of full buckets and the marks of pinged nodes
UnfinishedTasks    removes requests that are cancelled before they begin
OpenCalls          ignores answers to abandoned calls, which would end the connection to p2pd
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable
from typing import Any

from paris_p2p.network.dht.light_hivemind import Blacklist, RoutingTable

MAX_DOUBLINGS = 3
"""How often the time that an unanswering node is left out is doubled."""

MAX_BLACKLISTED = 4096
"""Unanswering nodes remembered; made-up ones must not fill our memory."""


class BoundedBlacklist(Blacklist):  # type: ignore[misc]
    """hivemind's blacklist of unanswering nodes. The original grows for ever in number and time,
    and keeps every node in it when the wall clock is set back.

    Parameters
    ----------
    clock : seconds of any epoch that never go back.
    """

    def __init__(
        self, base_time: float, backoff_rate: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(base_time, backoff_rate)
        self._clock = clock
        self._until: dict[Any, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, peer: object) -> bool:
        return self._until.get(peer, -math.inf) > self._clock()

    def register_failure(self, peer: Any) -> None:
        if peer in self:
            return
        if len(self) >= MAX_BLACKLISTED:
            self.clear()
        doublings = min(self.ban_counter[peer], MAX_DOUBLINGS)
        self.ban_counter[peer] = doublings + 1
        self._until[peer] = self._clock() + self.base_time * self.backoff**doublings

    def register_success(self, peer: Any) -> None:
        self._until.pop(peer, None)
        del self.ban_counter[peer]

    def clear(self) -> None:
        self._until.clear()
        self.ban_counter.clear()


class BoundedTable(RoutingTable):  # type: ignore[misc]
    """hivemind's routing table. A bucket keeps the latest `bucket_size` replacement nodes."""

    def add_or_update_node(self, node_id: Any, peer_id: Any) -> Any:
        doubtful = super().add_or_update_node(node_id, peer_id)
        spare = self.buckets[self.get_bucket_index(node_id)].replacement_nodes
        while len(spare) > self.bucket_size:
            del self[next(iter(spare))]
        return doubtful

    def __delitem__(self, node_id: Any) -> None:
        bucket = self.buckets[self.get_bucket_index(node_id)]
        bucket.nodes_requested_for_ping.discard(node_id)
        super().__delitem__(node_id)


class UnfinishedTasks(dict[Hashable, asyncio.Task[Any]]):
    """Requests being answered, by id; each is removed when it ends, however it does."""

    def __setitem__(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        super().__setitem__(key, task)
        task.add_done_callback(lambda _: self.pop(key, None))


class OpenCalls(dict[Hashable, asyncio.Future[bytes]]):
    """Our calls, by id. An abandoned call is not contained, so its answer is ignored."""

    def __contains__(self, key: object) -> bool:
        call = self.get(key)
        return call is not None and not call.done()


def bind_tables(control: Any) -> None:
    """Give hivemind's connection to p2pd the bounded tables, before it is used."""
    control._handler_tasks = UnfinishedTasks(control._handler_tasks)
    control._pending_calls = OpenCalls(control._pending_calls)
