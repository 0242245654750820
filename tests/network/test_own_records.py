"""Which of our records follow when neighbours come, and which of them has the last word."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.identity import Identity
from paris_p2p.network.dht.hardening import REPLICAS
from paris_p2p.network.dht.light_hivemind import PeerID
from paris_p2p.network.dht.validator import DhtRecord, key_digest, sign_record
from paris_p2p.network.host import Host
from paris_p2p.network.own_records import OwnRecords, nearest

KEY = key_digest("k")
PLACE = int.from_bytes(KEY, "big")

NODES = st.sets(st.integers(0, 2**160 - 1), max_size=3 * REPLICAS)


@given(NODES)
def test_the_nearest_are_nearer_than_all_others(nodes: set[int]) -> None:
    chosen = nearest(KEY, nodes)
    assert len(chosen) == min(len(nodes), REPLICAS)
    furthest = max((node ^ PLACE for node in chosen), default=0)
    assert all(node ^ PLACE > furthest for node in nodes - chosen)


@given(NODES, st.integers(0, 2**160 - 1))
def test_who_leaves_none_of_the_nearest_behind_changes_nothing(nodes: set[int], one: int) -> None:
    before = nearest(KEY, nodes)
    after = nearest(KEY, nodes | {one})
    assert (after <= before) == (one not in after or one in before)


class SlowHost:
    """A swarm of one other node, which holds what an earlier life of this process said."""

    def __init__(self, identity: Identity, earlier: DhtRecord) -> None:
        self.listen_config = SimpleNamespace(identity=identity)
        self.node = self
        self.held = self.earlier = earlier
        self.reading = asyncio.Event()
        self.read_on = asyncio.Event()

    async def until_ready(self) -> None:
        return None

    def neighbours(self) -> list[object]:
        return [PeerID.from_base58(Identity.generate().peer_id)]

    async def spread(self, record: DhtRecord) -> tuple[int, int]:
        if record.expires <= self.held.expires:
            return 0, 1
        self.held = record
        return 1, 0

    async def gather(self, key: bytes, found: dict[bytes, DhtRecord]) -> None:
        found[self.earlier.owner] = self.earlier
        self.reading.set()
        await self.read_on.wait()


@pytest.mark.asyncio
async def test_what_was_said_first_never_replaces_what_was_said_next() -> None:
    """The first is refused, and by the time it is known why, something else has been said."""
    identity, soon = Identity.generate(), time.time() + 60
    host = SlowHost(identity, sign_record(identity, KEY, b"earlier life", soon + 60))
    records = OwnRecords(cast("Host", host))
    first = asyncio.create_task(records.store("k", b"first", soon))
    await host.reading.wait()
    assert await records.store("k", b"second", soon + 90)
    host.read_on.set()
    await first
    assert host.held.value == b"second"
