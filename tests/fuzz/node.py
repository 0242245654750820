"""Attacks on the DHT node without any network: what it is asked, and what it reads in answers."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import DecodeError

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.dht.call_quota import Limit, Limits, Quotas
from paris_p2p.network.dht.hardening import KEYS_PER_CALL, ParisProtocol
from paris_p2p.network.dht.light_hivemind import P2PContext, PeerID, dht_pb2
from paris_p2p.network.dht.node import ParisNode
from paris_p2p.network.dht.record_store import RecordStore
from paris_p2p.network.dht.validator import DhtRecord, Validator, sign_record
from paris_p2p.network.p2pd.daemon import peer_id
from paris_p2p.network.private_swarm import membership
from paris_p2p.network.swarm import MAX_OWNERS
from paris_p2p.network.token_bucket import Rate
from paris_p2p.records.codec import encode

from .mutate import Mutator
from .target import Target, on_loop

NOW = 1_000_000.0
SENDERS = tuple(Identity(bytes([number]) * 32) for number in range(1, 9))
TIMES = (NOW + 60, NOW + 3600, NOW - 1, 0.0, -1.0, 1e308, float("inf"), float("nan"))
PLENTY = Limit(Rate(1e9, 1e12), Rate(1e9, 1e12))
LIMITS = Limits(PLENTY, PLENTY, PLENTY, PLENTY, PLENTY)
REFUSALS = (BadContent, ValueError, DecodeError)
"""What a handler may raise: hivemind hands it to the caller as an error and goes on."""


class Wire:
    """In p2pd's place: takes the node's handlers, and answers its calls with whatever is set."""

    def __init__(self) -> None:
        self.peer_id = peer_id(Identity(bytes(32)).author)
        self.handlers: dict[str, tuple[Callable[..., Any], Any]] = {}
        self.answer = b""

    async def list_peers(self) -> list[Any]:
        return []

    async def add_protobuf_handler(
        self, name: str, handler: Callable[..., Any], request: Any, **_: object
    ) -> None:
        self.handlers[name.rpartition("/")[2]] = handler, request

    async def call_protobuf_handler(self, peer: Any, name: str, request: Any, answer: Any) -> Any:
        return answer.FromString(self.answer)


@contextmanager
def targets(loop: asyncio.AbstractEventLoop) -> Iterator[list[Target]]:
    victim = loop.run_until_complete(Victim.start())
    yield [
        Target("DHT requests", 50, on_loop(loop, victim.ask)),
        Target("DHT answers", 30, on_loop(loop, victim.answer)),
        Target("DHT records", 40, victim.judge),
    ]


class Victim:
    """A node of ours that knows a few others, at a time that stands still."""

    def __init__(self, wire: Wire, protocol: ParisProtocol) -> None:
        self.wire, self.protocol = wire, protocol
        self.node = ParisNode.around(protocol)

    @classmethod
    async def start(cls) -> Victim:
        wire = Wire()
        protocol = await ParisProtocol.start(
            wire,
            RecordStore(lambda: NOW),
            Validator(),
            lambda: NOW,
            membership(None, bytes(32), nobody),
            Quotas(lambda: NOW, LIMITS),
        )
        return cls(wire, protocol)

    async def ask(self, mutator: Mutator) -> None:
        """A request of made-up fields, or the bent bytes of one."""
        method = mutator.rng.choice(("rpc_ping", "rpc_store", "rpc_find"))
        handler, kind = self.wire.handlers[method]
        data = _request(mutator, kind).SerializeToString()
        if mutator.rng.random() < 0.3:
            data = mutator.bent(data)
        self.wire.answer = b""
        try:
            response = await handler(kind.FromString(data), _context(mutator))
        except REFUSALS:
            return
        assert response.ByteSize() < 1 << 22

    async def answer(self, mutator: Mutator) -> None:
        """An answer to a search, read by the node; what it takes from it is small and sound."""
        key = mutator.rng.randbytes(20)
        response = dht_pb2.FindResponse(
            results=[_result(mutator, key) for _ in range(mutator.rng.choice((1, 1, 1, 0, 2)))]
        )
        self.wire.answer = response.SerializeToString()
        if mutator.rng.random() < 0.3:
            self.wire.answer = mutator.bent(self.wire.answer)
        found: dict[bytes, DhtRecord] = {}
        await self.node.gather(key, found)
        assert len(found) <= MAX_OWNERS
        assert all(self.protocol.validator.accepts(record, NOW) for record in found.values())

    def judge(self, mutator: Mutator) -> None:
        """A record changed in any part is not its author's any more."""
        sender = mutator.rng.choice(SENDERS)
        good = sign_record(sender, bytes(20), mutator.rng.randbytes(9), NOW + 60)
        bent = DhtRecord(
            mutator.rng.choice((good.key, mutator.bent(good.key))),
            mutator.rng.choice((good.owner, mutator.bent(good.owner))),
            mutator.rng.choice((good.expires, mutator.rng.choice(TIMES), _any_float(mutator))),
            mutator.rng.choice((good.body, mutator.bent(good.body))),
        )
        accepted = self.protocol.validator.accepts(bent, NOW)
        assert accepted == (bent == good), bent


async def nobody(author: bytes, protocol: str) -> Any:
    raise Unreachable("there is no network")


def _request(mutator: Mutator, kind: Any) -> Any:
    node = dht_pb2.NodeInfo(node_id=mutator.garbage(40))
    count = mutator.rng.choice((0, 1, 1, 2, KEYS_PER_CALL, KEYS_PER_CALL + 1))
    keys = [mutator.rng.choice((bytes(20), mutator.garbage(24))) for _ in range(count)]
    if kind is dht_pb2.FindRequest:
        return kind(keys=keys, peer=node)
    if kind is dht_pb2.PingRequest:
        return kind(peer=node, validate=mutator.rng.random() < 0.5)
    records = [_record(mutator, key) for key in keys]
    return kind(
        keys=keys,
        subkeys=[mutator.rng.choice((b"\xc4\x20", b"")) + record.owner for record in records],
        values=[record.body for record in records],
        expiration_time=[record.expires for record in records],
        in_cache=[mutator.rng.random() < 0.1 for _ in records][: mutator.rng.randrange(20)],
        peer=node,
    )


def _record(mutator: Mutator, key: bytes) -> DhtRecord:
    sender, expires = mutator.rng.choice(SENDERS), mutator.rng.choice(TIMES)
    record = sign_record(sender, key, mutator.rng.randbytes(20), expires)
    if mutator.rng.random() < 0.5:
        return record
    return DhtRecord(key, mutator.bent(record.owner), expires, mutator.bent(record.body))


def _result(mutator: Mutator, key: bytes) -> Any:
    records = [_record(mutator, key) for _ in range(mutator.rng.randrange(4))]
    rows = [[record.owner, _finite(record.expires), record.body] for record in records]
    value = mutator.rng.choice((encode(rows), mutator.encoded(rows), mutator.bent(encode(rows))))
    peers = [mutator.rng.choice((_peer(mutator), mutator.garbage(80))) for _ in range(4)]
    return dht_pb2.FindResult(
        type=mutator.rng.choice((0, 1, 2)),
        value=value,
        expiration_time=mutator.rng.choice(TIMES),
        nearest_node_ids=[mutator.garbage(30) for _ in range(mutator.rng.randrange(5))],
        nearest_peer_ids=peers[: mutator.rng.randrange(5)],
    )


def _context(mutator: Mutator) -> Any:
    raw = mutator.rng.choice((_peer(mutator), mutator.bent(_peer(mutator)), mutator.garbage(60)))
    return P2PContext("/paris/dht/1/any", None, PeerID(raw))


def _peer(mutator: Mutator) -> bytes:
    known = peer_id(mutator.rng.choice(SENDERS).author)
    raw: bytes = mutator.rng.choice((known, peer_id(mutator.rng.randbytes(32)))).to_bytes()
    return raw


def _finite(expires: float) -> float:
    return expires if abs(expires) < 1e300 else 0.0


def _any_float(mutator: Mutator) -> float:
    (number,) = struct.unpack(">d", mutator.rng.randbytes(8))
    return float(number)
