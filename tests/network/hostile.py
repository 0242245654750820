"""A peer that keeps to libp2p and to nothing else: it sends whatever bytes it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from paris_p2p.identity import Identity, author_of
from paris_p2p.network.dht.hardening import SUBKEY_HEADER, node_id_of
from paris_p2p.network.dht.light_hivemind import P2P, Multiaddr, P2PHandlerError, PeerID, dht_pb2
from paris_p2p.network.dht.validator import DhtRecord, key_digest, signed_part
from paris_p2p.network.p2pd.daemon import peer_id
from paris_p2p.records import codec
from paris_p2p.records.address import parse_address

Find = Callable[[Any], Awaitable[Any]]


class Hostile:
    """A raw hivemind P2P client with an identity of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.identity = Identity.generate()

    async def __aenter__(self) -> Hostile:
        identity_file = self._folder / self.identity.peer_id
        self.identity.save(identity_file)
        self.p2p = await P2P.create(
            identity_path=str(identity_file),
            check_if_identity_free=False,
            auto_nat=False,
            nat_port_map=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.p2p.shutdown()

    @property
    def node_id(self) -> Any:
        return node_id_of(self.p2p.peer_id)

    async def dial(self, address: str) -> bytes:
        """Connect; returns the author of whoever lives there."""
        parsed = parse_address(address)
        target = PeerID.from_base58(parsed.peer_id)
        dialling = self.p2p._client.connect(target, [Multiaddr(parsed.transport)])
        await asyncio.wait_for(dialling, 10)
        return author_of(parsed.peer_id)

    async def ping(self, victim: bytes, claimed_id: bytes) -> None:
        request = dht_pb2.PingRequest(peer=dht_pb2.NodeInfo(node_id=claimed_id), validate=True)
        await self._call(victim, "rpc_ping", request, dht_pb2.PingResponse)

    async def store(self, victim: bytes, *records: DhtRecord, in_cache: bool = False) -> list[bool]:
        """What the victim says to each record; False for all when it refuses the request."""
        return await self.store_raw(
            victim,
            keys=[record.key for record in records],
            subkeys=[SUBKEY_HEADER + record.owner for record in records],
            values=[record.body for record in records],
            expiration_time=[record.expires for record in records],
            in_cache=[in_cache for _ in records],
        )

    async def store_raw(self, victim: bytes, **columns: Any) -> list[bool]:
        request = dht_pb2.StoreRequest(**columns)
        response = await self._call(victim, "rpc_store", request, dht_pb2.StoreResponse)
        return list(response.store_ok) if response else [False] * len(columns["keys"])

    async def find(self, victim: bytes, *keys: bytes) -> Any:
        """The victim's results, or None when it refuses the request."""
        request = dht_pb2.FindRequest(keys=keys)
        response = await self._call(victim, "rpc_find", request, dht_pb2.FindResponse)
        return response.results if response else None

    async def pose_as_node(self, answer: Find, *victims: bytes) -> None:
        """Enter the victims' routing tables, and answer their searches with `answer(request)`."""

        async def rpc_find(request: Any, _: Any) -> Any:
            return await answer(request)

        async def rpc_ping(_: Any, __: Any) -> Any:
            return dht_pb2.PingResponse(peer=dht_pb2.NodeInfo(node_id=self.node_id.to_bytes()))

        await self.p2p.add_protobuf_handler("/paris/dht/1/rpc_find", rpc_find, dht_pb2.FindRequest)
        await self.p2p.add_protobuf_handler("/paris/dht/1/rpc_ping", rpc_ping, dht_pb2.PingRequest)
        for victim in victims:
            await self.ping(victim, self.node_id.to_bytes())

    def sign(self, key: bytes, payload: bytes, expires: float) -> DhtRecord:
        """A properly signed record around any payload at all."""
        message = signed_part(key, self.identity.author, expires, payload)
        return DhtRecord(key, self.identity.author, expires, payload + self.identity.sign(message))

    def announce(self, key: str, value: bytes, expires: float) -> DhtRecord:
        """A record as honest peers make them: `value` under a key that people read."""
        return self.sign(key_digest(key), codec.encode(value), expires)

    async def _call(self, victim: bytes, method: str, request: Any, answer: Any) -> Any | None:
        call = self.p2p.call_protobuf_handler(
            peer_id(victim), f"/paris/dht/1/{method}", request, answer
        )
        try:
            return await asyncio.wait_for(call, 5)
        except P2PHandlerError:
            return None


def found(rows: list[Any] | bytes, near: dict[bytes, bytes] | None = None) -> Any:
    """An answer to a search: `rows` as a node encodes them, or any bytes in their place."""
    value = rows if isinstance(rows, bytes) else codec.encode(rows)
    result = dht_pb2.FindResult(type=dht_pb2.FOUND_DICTIONARY, value=value, expiration_time=1e18)
    for node, peer in (near or {}).items():
        result.nearest_node_ids.append(node)
        result.nearest_peer_ids.append(peer)
    return dht_pb2.FindResponse(results=[result])
