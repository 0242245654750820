"""The swarm contract inside one process: no sockets, no p2pd, time as an argument.

`MemoryNetwork` is the world, `MemorySwarm` one peer in it. Tests and simulations use it where the
real network would only add seconds, and for failures on request:

    world = MemoryNetwork(clock=lambda: now)
    alice, bob = world.join(alice_key), world.join(bob_key)
    await bob.connect(alice.addresses()[0])
    world.drop(bob.author)                           # as by kill -9: nothing is withdrawn
    world.partition({alice.author}, {bob.author})    # heal() ends it

The model: peers that ever met form a circle. Within a circle, every live peer on the same side of a
partition keeps every record. As in the real swarm, records therefore survive their author and are
lost with the last holder. There are no delays and no replica limits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import author_of, peer_id_of
from paris_p2p.network.clock import Voice, believed_offset
from paris_p2p.network.dht.subnets import network_in
from paris_p2p.network.in_memory_streams import End, MemoryStream, stream_pair
from paris_p2p.network.reach.reachability_types import Nat, Reachability, ReachState, Way
from paris_p2p.network.swarm import (
    INACTIVITY,
    MAX_OWNERS,
    Entry,
    Expirations,
    Handler,
    check_record,
)
from paris_p2p.records.address import Address, parse_address

logger = logging.getLogger(__name__)

Clock = Callable[[], float]

TOMBSTONE_LIFE = 300.0
"""Seconds a tombstone lives when we do not know the record it replaces."""


class MemoryNetwork:
    """The world in which `MemorySwarm`s live. Its clock decides when records expire."""

    def __init__(self, clock: Clock = time.time) -> None:
        self.clock = clock
        self._peers: dict[bytes, MemorySwarm] = {}
        self._sides: list[frozenset[bytes]] = []
        self._joined = 0

    def join(
        self,
        author: bytes,
        *,
        clock: Clock | None = None,
        inactivity: float = INACTIVITY,
        host: str = "127.0.0.1",
    ) -> MemorySwarm:
        """A new peer at `host` that knows no other yet. Its own `clock` may be off."""
        if author in self._peers:
            raise ValueError("this author is in the network already")
        self._joined += 1
        peer = MemorySwarm(self, author, self._joined, clock or self.clock, inactivity, host)
        self._peers[author] = peer
        return peer

    def drop(self, author: bytes) -> None:
        """The peer vanishes, as by kill -9; what it stored with others stays."""
        peer = self._peers.pop(author, None)
        if peer is not None:
            peer._break_streams(lambda _: True)

    def partition(self, *sides: Iterable[bytes]) -> None:
        """Cut the world: peers on different sides cannot reach each other.

        A peer on no side reaches everybody. Streams across the cut break.
        """
        self._sides = [frozenset(side) for side in sides]
        for peer in self._peers.values():
            peer._break_streams(partial(self._cut, peer.author))

    def heal(self) -> None:
        """End the partition."""
        self._sides = []

    def find(self, seeker: bytes, wanted: bytes) -> MemorySwarm | None:
        """The live peer `wanted`, if `seeker` can reach it. No peer reaches itself."""
        reachable = wanted != seeker and seeker in self._peers and not self._cut(seeker, wanted)
        return self._peers.get(wanted) if reachable else None

    def _cut(self, one: bytes, other: bytes) -> bool:
        sides = [self._side(one), self._side(other)]
        return None not in sides and sides[0] != sides[1]

    def _side(self, author: bytes) -> int | None:
        return next((i for i, side in enumerate(self._sides) if author in side), None)


class MemorySwarm:
    """One peer of a `MemoryNetwork`; keeps the `Swarm` contract."""

    def __init__(
        self,
        network: MemoryNetwork,
        author: bytes,
        port: int,
        clock: Clock,
        inactivity: float,
        host: str,
    ) -> None:
        self._network = network
        self._author = author
        self._host = host
        self._port = port
        self._clock = clock
        self._end = End(author, inactivity)
        self._circle: set[bytes] = {author}
        self._records: dict[str, dict[bytes, Entry]] = {}
        self._expirations = Expirations()
        self._handlers: dict[str, Handler] = {}
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def author(self) -> bytes:
        return self._author

    def addresses(self) -> list[str]:
        return [str(Address(f"/ip4/{self._host}/tcp/{self._port}", peer_id_of(self._author)))]

    async def store(self, key: str, value: bytes, expires: float) -> bool:
        check_record(key, value, expires, self._clock())
        if expires <= self._clock():
            return False
        expires = self._expirations.following(key, expires, self._clock())
        entry = Entry(self._author, bytes(value), expires)
        self._keep(key, entry)
        kept = [peer._keep(key, entry) for peer in self._others()]
        return any(kept) or not kept

    async def withdraw(self, key: str) -> None:
        expires = self._expirations.last(key) or self._clock() + TOMBSTONE_LIFE
        await self.store(key, b"", expires)

    async def lookup(self, key: str) -> list[Entry]:
        newest: dict[bytes, Entry] = {}
        for peer in [self, *self._others()]:
            for entry in peer._records.get(key, {}).values():
                _keep_later(newest, entry)
        now = self._network.clock()
        found = (newest[owner] for owner in sorted(newest))
        return [entry for entry in found if entry.value and entry.expires > now]

    async def connect(self, address: str) -> None:
        try:
            wanted = author_of(parse_address(address).peer_id)
        except BadContent as error:
            raise Unreachable(f"cannot dial {address[:80]!r}: {error}") from error
        self._meet(wanted, address)

    async def meet(self, address: str) -> None:
        await self.connect(address)

    async def open(
        self, author: bytes, protocol: str, addresses: Sequence[str] = ()
    ) -> MemoryStream:
        if author not in self._circle:
            for address in addresses:
                with suppress(Unreachable):
                    await self.connect(address)
        peer = self._network.find(self._author, author) if author in self._circle else None
        handler = peer._handlers.get(protocol) if peer is not None else None
        if peer is None or handler is None:
            raise Unreachable(f"peer {author.hex()[:12]} does not answer {protocol}")
        near, far = stream_pair(self._end, peer._end)
        peer._answer(handler, far)
        return near

    async def serve(self, protocol: str, handler: Handler) -> None:
        self._handlers[protocol] = handler

    def online(self) -> bool:
        return self.peers() > 0

    def peers(self) -> int:
        return sum(1 for _ in self._others())

    def known_addresses(self) -> list[str]:
        return [address for other in self._others() for address in other.addresses()]

    def reachability(self) -> Reachability:
        asked = self.peers()
        state = ReachState.PUBLIC if asked else ReachState.UNKNOWN
        return Reachability(state, tuple(self.addresses()), nat=Nat.NONE, reached_by=asked)

    async def way_to(self, author: bytes) -> Way:
        met = author in self._circle and self._network.find(self._author, author) is not None
        return Way.DIRECT if met else Way.NONE

    async def seen_at(self, author: bytes) -> list[str]:
        peer = self._network.find(self._author, author) if author in self._circle else None
        return [parse_address(text).transport for text in peer.addresses()] if peer else []

    async def network_of(self, author: bytes) -> str:
        return "".join(map(network_in, await self.seen_at(author)))

    async def clock_skew(self) -> float | None:
        others = list(self._others())
        networks = [await self.network_of(peer.author) for peer in others]
        return believed_offset(
            [
                Voice(self._clock() - peer._clock(), network)
                for peer, network in zip(others, networks, strict=True)
            ]
        )

    def doubled(self) -> bool:
        return False

    async def close(self) -> None:
        if self._network._peers.get(self._author) is self:
            self._network.drop(self._author)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _others(self) -> Iterator[MemorySwarm]:
        for author in sorted(self._circle - {self._author}):
            peer = self._network.find(self._author, author)
            if peer is not None:
                yield peer

    def _meet(self, wanted: bytes, address: str) -> None:
        peer = self._network.find(self._author, wanted)
        if peer is None:
            raise Unreachable(f"nobody answers at {address}")
        if peer._circle is not self._circle:
            self._circle |= peer._circle
            for author in self._circle:
                member = self._network._peers.get(author)
                if member is not None:
                    member._circle = self._circle

    def _keep(self, key: str, entry: Entry) -> bool:
        """Keep `entry` unless it is older than ours or the key is full.

        In a full key, a tombstone makes room.
        """
        entries = self._records.setdefault(key, {})
        now = self._network.clock()
        for owner in [owner for owner, old in entries.items() if old.expires <= now]:
            del entries[owner]
        if entry.owner not in entries and len(entries) >= MAX_OWNERS:
            buried = next((owner for owner, old in entries.items() if not old.value), None)
            if buried is None:
                return False
            del entries[buried]
        return _keep_later(entries, entry)

    def _answer(self, handler: Handler, stream: MemoryStream) -> None:
        task = asyncio.create_task(self._run(handler, stream))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _run(self, handler: Handler, stream: MemoryStream) -> None:
        try:
            await handler(stream.author, stream)
        except Exception as error:
            logger.debug("a stream handler failed: %r", error)
        finally:
            await stream.close()

    def _break_streams(self, chosen: Callable[[bytes], bool]) -> None:
        for stream in list(self._end.streams):
            if chosen(stream.author):
                stream.break_off()


def _keep_later(entries: dict[bytes, Entry], entry: Entry) -> bool:
    """The swarm's only conflict rule: the later expiration wins."""
    old = entries.get(entry.owner)
    if old is not None and old.expires >= entry.expires:
        return False
    entries[entry.owner] = entry
    return True
