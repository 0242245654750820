"""A node that thousands of made-up peers talk to: every table keeps to its bound."""

from __future__ import annotations

from typing import Any

import pytest

from paris_p2p.identity import Identity
from paris_p2p.network.dht import bounded_tables, validator
from paris_p2p.network.dht.call_quota import Quotas
from paris_p2p.network.dht.hardening import BUCKET, SUBKEY_HEADER, ParisProtocol, node_id_of
from paris_p2p.network.dht.light_hivemind import P2PContext, dht_pb2
from paris_p2p.network.dht.record_store import Allowance, RecordStore
from paris_p2p.network.dht.validator import Validator, sign_record
from paris_p2p.network.p2pd.daemon import peer_id
from paris_p2p.network.private_swarm import membership
from tests.fuzz.node import NOW, Wire, nobody

PEERS = 1200
BOUND = 200
"""Of each table, in place of the thousands that a real node has."""

SMALL = Allowance(total_records=BOUND, total_bytes=1 << 20)


class Stranger:
    """A peer that was made up a moment ago."""

    def __init__(self) -> None:
        self._identity = Identity.generate()
        self._peer = peer_id(self._identity.author)
        self._context: Any = P2PContext("/paris/dht/1/any", None, self._peer)
        self._node = dht_pb2.NodeInfo(node_id=node_id_of(self._peer).to_bytes())

    async def do_everything(self, victim: ParisProtocol, number: int) -> None:
        key = number.to_bytes(20)
        record = sign_record(self._identity, key, b"made up", NOW + 3600)
        await victim.rpc_ping(dht_pb2.PingRequest(peer=self._node), self._context)
        store = dht_pb2.StoreRequest(
            keys=[key],
            subkeys=[SUBKEY_HEADER + record.owner],
            values=[record.body],
            expiration_time=[record.expires],
            in_cache=[False],
            peer=self._node,
        )
        await victim.rpc_store(store, self._context)
        await victim.rpc_find(dht_pb2.FindRequest(keys=[key], peer=self._node), self._context)
        victim._lost(peer_id(number.to_bytes(32)))


@pytest.mark.process
async def test_made_up_peers_fill_no_table_beyond_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_tables, "MAX_BLACKLISTED", BOUND)
    monkeypatch.setattr(validator, "REMEMBERED", BOUND)
    quotas = Quotas(lambda: NOW, peers=BOUND)
    victim = await ParisProtocol.start(
        Wire(),
        RecordStore(lambda: NOW, SMALL),
        Validator(),
        lambda: NOW,
        membership(None, bytes(32), nobody),
        quotas,
    )
    for number in range(PEERS):
        await Stranger().do_everything(victim, number)
    table, record_store = victim.routing_table, victim.record_store
    assert len(table.uid_to_peer_id) <= 2 * BUCKET * len(table.buckets)
    assert len(victim._pings) <= len(table.uid_to_peer_id)
    assert len(record_store) == len(record_store._held) == BOUND
    assert 0 < len(victim.blacklist.ban_counter) <= BOUND
    assert len(victim.validator._verified) == BOUND
    assert [len(quota) for quota in (quotas.pings, quotas.records, quotas.keys)] == [BOUND] * 3
