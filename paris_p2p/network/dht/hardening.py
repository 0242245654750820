"""hivemind's DHT protocol, hardened against strangers.

The stock node is safe only among trusted peers. Ours keeps its skeleton (ids, routing table,
blacklist, messages, libp2p plumbing) and replaces all code that reads others' input. The library is
not patched: these are subclasses, and they never call the methods they replace.

    attack on the stock node                        closed by
    nested msgpack extension types, a crash         codec: strict, no extensions, bounded depth
    a signed, undecodable payload hangs readers     Validator: decodes before it accepts
    replaying an older record ends the newer one    RecordStore: a refused record changes nothing,
                                                    and only its owner may store a record
    records pushed into another node's cache        there is no cache; in_cache is refused
    expirations of infinity, NaN, a year ahead      Validator: finite and within the hour
    a ping that claims another node's DHT id        the id is always the hash of the PeerID
    many made-up ids from one PeerID                same
    made-up neighbours crowd out the real ones      Frontier: only nodes that answer count
    a flood of records                              RecordStore: bounded per owner, key and network
    a flood of calls, enormous answers              Quotas: per caller, and for all together
    made-up peers fill tables and spare places      bounded_tables: hivemind's tables, bounded
    one bad entry spoils a whole dictionary         entries are checked one by one
    one node reports thousands of made-up owners    the owners that most nodes report are read
    huge requests and answers                       counted and measured before they are read

No node alone can prevent withholding, eclipse attacks and Sybils with ground keys.

A record's owner is the key behind a PeerID, so sender and owner can be compared: a node accepts
records only from their owner. Nodes therefore do not hand records on when nodes come and go;
records live on `REPLICAS` nodes, and their owner re-announces them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Any

from paris_p2p.errors import BadContent
from paris_p2p.network.dht.bounded_tables import BoundedBlacklist, BoundedTable
from paris_p2p.network.dht.call_quota import Quotas
from paris_p2p.network.dht.light_hivemind import (
    DHTID,
    DHTProtocol,
    P2PContext,
    P2PHandlerError,
    PeerID,
    dht_pb2,
)
from paris_p2p.network.dht.record_store import Clock, RecordStore
from paris_p2p.network.dht.subnets import Subnets
from paris_p2p.network.dht.validator import KEY_LENGTH, MAX_BODY, DhtRecord, Validator
from paris_p2p.network.p2pd.daemon import author_in, connections
from paris_p2p.network.private_swarm import Membership
from paris_p2p.network.swarm import MAX_OWNERS
from paris_p2p.records import codec

logger = logging.getLogger(__name__)

REPLICAS = 8
"""Nodes that store a record, besides its owner's."""

BUCKET = 20
"""Kademlia's k: nodes per bucket, neighbours per answer, results of a search."""

CALL_TIMEOUT = 3.0
"""Seconds after which a call counts as unanswered and the node as gone."""

BLACKLISTED = 5.0
"""Seconds an unanswering node is left out of searches; doubled when it happens again."""

KEYS_PER_CALL = 16
"""Records per store, keys per find."""

ANSWER_LIMIT = 1 << 21
"""Bytes of values in one answer; p2pd drops messages above 4 MiB."""

DICTIONARY_LIMIT = MAX_OWNERS * (MAX_BODY + 64)
DICTIONARY_ITEMS = 4 * MAX_OWNERS
"""Encoded bytes of one key's records, and msgpack values: a list of three for each."""

SUBKEY_HEADER = b"\xc4\x20"
"""msgpack for "32 bytes follow": hivemind sends subkeys packed."""

Answer = dict[Any, tuple[list[DhtRecord] | None, dict[Any, Any]]]


def node_id_of(peer_id: Any) -> Any:
    """The one DHT id that a libp2p peer may have."""
    return DHTID.generate(b"paris-node:" + peer_id.to_bytes())


class ParisProtocol(DHTProtocol):  # type: ignore[misc]
    """The calls between nodes: ping, store, find. hivemind's messages, our checks."""

    _rpc_handlers = None  # hivemind caches these per class; ours are not its own
    _stub_type = None
    _pings: set[asyncio.Future[Any]]

    @classmethod
    async def start(
        cls,
        p2p: Any,
        record_store: RecordStore,
        validator: Validator,
        clock: Clock,
        membership: Membership,
        quotas: Quotas,
    ) -> ParisProtocol:
        """Start answering the nodes that `membership` admits, within `quotas`."""
        self = cls(_initialized_with_create=True)
        self._pings = set()
        self.blacklist = BoundedBlacklist(BLACKLISTED, backoff_rate=2.0)
        self.p2p, self.record_store, self.validator, self.clock = (
            p2p,
            record_store,
            validator,
            clock,
        )
        self.membership, self.quotas = membership, quotas
        self.subnets = Subnets(partial(connections, p2p))
        self.node_id = node_id_of(p2p.peer_id)
        self.node_info = dht_pb2.NodeInfo(node_id=self.node_id.to_bytes())
        self.routing_table = BoundedTable(self.node_id, BUCKET, depth_modulo=5)
        self.bucket_size, self.num_replicas = BUCKET, REPLICAS
        self.wait_timeout, self.authorizer, self.client_mode = CALL_TIMEOUT, None, False
        await self.add_p2p_handlers(p2p)
        return self

    @classmethod
    def _get_handle_name(cls, namespace: str | None, method_name: str) -> str:
        return f"/paris/dht/1/{method_name}"

    # Calls to others. None or an empty answer means that they did not answer.

    async def call_ping(self, peer: Any, validate: bool = False, strict: bool = True) -> bool:
        """Whether `peer` is alive and is a node like us."""
        response = await self._call(peer, "rpc_ping", dht_pb2.PingRequest(peer=self.node_info))
        return response is not None and response.peer.node_id == node_id_of(peer).to_bytes()

    def hide(self, hidden: bool) -> None:
        """Whether to stay out of others' routing tables, because they could not dial us."""
        self.client_mode = hidden
        self.node_info = dht_pb2.NodeInfo(node_id=b"" if hidden else self.node_id.to_bytes())

    async def call_put(self, peer: Any, record: DhtRecord) -> bool | None:
        """Ask `peer` to keep our own `record`."""
        request = dht_pb2.StoreRequest(
            keys=[record.key],
            subkeys=[SUBKEY_HEADER + record.owner],
            values=[record.body],
            expiration_time=[record.expires],
            in_cache=[False],
            peer=self.node_info,
        )
        response = await self._call(peer, "rpc_store", request)
        return list(response.store_ok) == [True] if response is not None else None

    async def call_find(self, peer: Any, keys: Collection[Any]) -> Answer | None:
        """The records that `peer` holds under `keys`, and the nodes it knows near them."""
        keys = list(keys)
        request = dht_pb2.FindRequest(keys=[key.to_bytes() for key in keys], peer=self.node_info)
        response = await self._call(peer, "rpc_find", request)
        if response is None or len(response.results) != len(keys):
            return None
        return {
            key: (self._read_records(key.to_bytes(), result), _read_neighbours(result))
            for key, result in zip(keys, response.results, strict=True)
        }

    async def _call(self, peer: Any, method: str, request: Any) -> Any | None:
        try:
            ask = partial(getattr(self.get_stub(peer), method), request, timeout=CALL_TIMEOUT)
            response = await self.membership.call(author_in(peer), ask, P2PHandlerError)
        except Exception as error:  # any error of the library on a stranger's answer
            logger.debug("%s at %s failed: %r", method, peer, error)
            self._lost(peer)
            return None
        self._met(peer, response.peer.node_id)
        return response

    def _read_records(self, key: bytes, result: Any) -> list[DhtRecord] | None:
        """The acceptable records in an answer; each bad one is left out."""
        if result.type != dht_pb2.FOUND_DICTIONARY:
            return None
        try:
            rows = codec.decode(result.value, DICTIONARY_LIMIT, DICTIONARY_ITEMS)
        except BadContent:
            return None
        now = self.clock()
        rows = rows[:MAX_OWNERS] if isinstance(rows, list) else []
        records = (_read_row(key, row) for row in rows)
        return [record for record in records if record and self.validator.accepts(record, now)]

    # Calls from others. An exception here reaches only the caller, as an error.

    async def rpc_ping(
        self, request: dht_pb2.PingRequest, context: P2PContext
    ) -> dht_pb2.PingResponse:
        """Tell that we are alive, and our clock."""
        self._admit(context)
        if self.quotas.pings.take(context.remote_id.to_bytes()):
            self._met(context.remote_id, request.peer.node_id)
        return dht_pb2.PingResponse(peer=self.node_info, dht_time=self.clock(), available=True)

    async def rpc_store(
        self, request: dht_pb2.StoreRequest, context: P2PContext
    ) -> dht_pb2.StoreResponse:
        """Keep the caller's own records."""
        self._admit(context)
        sender = author_in(context.remote_id)
        count = len(request.keys)
        columns = (request.subkeys, request.values, request.expiration_time, request.in_cache)
        if not 0 < count <= KEYS_PER_CALL or any(len(column) != count for column in columns):
            raise ValueError("a store request holds 1 to 16 complete records")
        self._met(context.remote_id, request.peer.node_id)
        verdicts = [False] * count
        if sender is not None and self.quotas.records.take(context.remote_id.to_bytes(), count):
            network = await self.subnets.network_of(sender)
            verdicts = [
                not in_cache and self._keep(sender, network, key, subkey, body, expires)
                for key, subkey, body, expires, in_cache in zip(request.keys, *columns, strict=True)
            ]
        return dht_pb2.StoreResponse(store_ok=verdicts, peer=self.node_info)

    async def rpc_find(
        self, request: dht_pb2.FindRequest, context: P2PContext
    ) -> dht_pb2.FindResponse:
        """The records we hold under some keys, and the nodes we know near them.

        Beyond its quota a caller gets empty results, not an error: it would take us for gone.
        """
        self._admit(context)
        if len(request.keys) > KEYS_PER_CALL or any(len(k) != KEY_LENGTH for k in request.keys):
            raise ValueError("a find request holds at most 16 keys of 20 bytes")
        self._met(context.remote_id, request.peer.node_id)
        asker, room = context.remote_id, ANSWER_LIMIT
        response = dht_pb2.FindResponse(peer=self.node_info)
        if not self.quotas.keys.take(asker.to_bytes(), len(request.keys)):
            response.results.extend(dht_pb2.FindResult() for _ in request.keys)
            return response
        for key in request.keys:
            result = self._near(DHTID.from_bytes(key), node_id_of(asker))
            records = self.record_store.under(key)
            size = sum(record.size for record in records)
            room -= size
            if records and room >= 0 and self.quotas.bytes.take(asker.to_bytes(), size):
                result.type, result.value = dht_pb2.FOUND_DICTIONARY, _encode_rows(records)
            response.results.append(result)
        return response

    def _admit(self, context: P2PContext) -> None:
        """Refuse a caller outside our swarm, without a reason."""
        if not self.membership.admits(author_in(context.remote_id)):
            raise PermissionError("refused")

    def _keep(
        self, sender: bytes, network: str, key: bytes, subkey: bytes, body: bytes, expires: float
    ) -> bool:
        record = DhtRecord(key, subkey.removeprefix(SUBKEY_HEADER), expires, body)
        return (
            record.owner == sender
            and self.validator.accepts(record, self.clock())
            and self.record_store.put(record, network)
        )

    def _near(self, key: Any, asker: Any) -> Any:
        result = dht_pb2.FindResult(type=dht_pb2.NOT_FOUND)
        for node_id, peer in self.routing_table.get_nearest_neighbors(key, BUCKET, exclude=asker):
            result.nearest_node_ids.append(node_id.to_bytes())
            result.nearest_peer_ids.append(peer.to_bytes())
        return result

    # The routing table.

    def _met(self, peer: Any, claimed_id: bytes) -> None:
        """`peer` is alive. It enters the routing table only under its true id."""
        self.blacklist.register_success(peer)
        node_id = node_id_of(peer)
        if not claimed_id:
            self._forget(node_id)
        if claimed_id != node_id.to_bytes() or author_in(peer) is None or node_id == self.node_id:
            return
        doubtful = self.routing_table.add_or_update_node(node_id, peer)
        if doubtful is not None:  # the bucket is full: is its oldest node still there?
            ping = asyncio.ensure_future(self.call_ping(doubtful[1]))
            self._pings.add(ping)
            ping.add_done_callback(self._pings.discard)

    def _lost(self, peer: Any) -> None:
        """`peer` did not answer."""
        self.blacklist.register_failure(peer)
        self._forget(node_id_of(peer))

    def _forget(self, node_id: Any) -> None:
        with suppress(KeyError):  # hivemind loses track of spare nodes when it splits a bucket
            if node_id in self.routing_table:
                del self.routing_table[node_id]


def _encode_rows(records: list[DhtRecord]) -> bytes:
    return codec.encode([[record.owner, record.expires, record.body] for record in records])


def _read_row(key: bytes, row: object) -> DhtRecord | None:
    match row:
        case [bytes() as owner, float() as expires, bytes() as body]:
            return DhtRecord(key, owner, expires, body)
    return None


def _read_neighbours(result: Any) -> dict[Any, Any]:
    """The nodes in an answer, under their true ids, `BUCKET` at most."""
    peers = [PeerID(raw) for raw in result.nearest_peer_ids[:BUCKET] if len(raw) <= 64]
    return {node_id_of(peer): peer for peer in peers if author_in(peer) is not None}
