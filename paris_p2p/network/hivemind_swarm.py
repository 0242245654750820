"""The swarm on libp2p and the hivemind DHT: what a running peer uses.

`HivemindSwarm` keeps the contract of `swarm.py`. Its work is divided: `host.py` keeps p2pd and the
DHT node alive, `own_records.py` stores our records, `healing.py` joins and stays in the swarm,
`reach/reachability` finds out whether others can dial us, and finds relays if not.

`hivemind.DHT` is not used: it forks, and hangs on values larger than a pipe's atomic size.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import Author, Identity, author_of
from paris_p2p.network.clock import (
    PATIENCE,
    PEERS_ASKED,
    TIME_PROTOCOL,
    Voice,
    ask_offset,
    believed_offset,
)
from paris_p2p.network.dht.call_quota import Limits, Quotas
from paris_p2p.network.dht.dialling import worth_dialling
from paris_p2p.network.dht.node import ParisNode
from paris_p2p.network.dht.record_store import RecordStore
from paris_p2p.network.dht.subnets import network_in, taking_turns
from paris_p2p.network.healing import HEAL_PERIOD, Healer, parse_all
from paris_p2p.network.host import Host
from paris_p2p.network.own_records import OwnRecords
from paris_p2p.network.p2pd.daemon import Daemon, author_in, connections
from paris_p2p.network.p2pd.listening import ListenConfig, announced_transport, choose_port
from paris_p2p.network.reach.reachability import ReachabilityKeeper, first_mode
from paris_p2p.network.reach.reachability_types import Reachability, ReachState, Way
from paris_p2p.network.swarm import INACTIVITY, Entry, Handler, Stream
from paris_p2p.network.swarm_key import SwarmKey
from paris_p2p.network.tasks import end_tasks
from paris_p2p.records.address import Address


class HivemindSwarm:
    """One peer's swarm. Make it with `start`; it keeps the `Swarm` contract."""

    def __init__(
        self,
        record_store: RecordStore,
        host: Host,
        records: OwnRecords,
        reachability_keeper: ReachabilityKeeper,
        healer: Healer,
    ) -> None:
        self._record_store = record_store
        self._host = host
        self._records = records
        self._reachability_keeper = reachability_keeper
        self._healer = healer
        self._named: set[Author] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._leaving: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        identity_file: Path,
        identity: Identity,
        listen: str = "0.0.0.0",
        port: int = 0,
        bootstrap: Sequence[str] = (),
        known: Sequence[str] = (),
        announce: Sequence[str] = (),
        *,
        relays: Sequence[str] = (),
        serve_relay: bool = True,
        upnp: bool = False,
        was: ReachState = ReachState.UNKNOWN,
        require_contact: bool = False,
        heal_period: float = HEAL_PERIOD,
        inactivity: float = INACTIVITY,
        limits: Limits | None = None,
        swarm_key: SwarmKey | None = None,
    ) -> HivemindSwarm:
        """Listen, and join through any of `bootstrap` and `known` (full multiaddrs) that answers.

        Parameters
        ----------
        port : TCP; 0 takes any free one. No QUIC: over it, p2pd loses what a server sends just
            before it closes a stream.
        announce : transports to announce instead of those found, e.g. behind a forwarded port.
        relays : full addresses of relays to be reachable through, whether or not others can dial
            us. If they cannot, relays are found among the neighbours too.
        serve_relay : relay others when publicly reachable.
        upnp : ask the router to forward the port.
        was : this peer's reachability when it last ran. If unknown, it is found out first.
        limits : most work done for others.
        swarm_key : only peers that know it are answered and believed (`private_swarm`).

        Raises `PortInUse`; `UsageProblem` for addresses we cannot listen on or announce; and, with
        `require_contact`, `Unreachable` when addresses were given and none answers. Without it,
        they are dialled again every heal period; `online()` tells when one has answered.
        """
        announced = tuple(announced_transport(text, identity.peer_id) for text in announce)
        free = choose_port(listen, port)
        listen_config = ListenConfig(
            identity_file, identity, listen, free, announced, inactivity, upnp
        )
        record_store = RecordStore(time.time)
        mode = first_mode(bool(announced), was, serve_relay)
        host = Host(listen_config, mode, record_store, Quotas(time.monotonic, limits), swarm_key)
        host.hidden = was is ReachState.PRIVATE and not announced
        records = OwnRecords(host)
        reachability_keeper = ReachabilityKeeper(host, was, serve_relay, tuple(parse_all(relays)))
        swarm = cls(
            record_store,
            host,
            records,
            reachability_keeper,
            Healer(host, records, reachability_keeper, heal_period),
        )
        swarm._note_named(bootstrap)
        try:
            await host.build()
            host.ready.set()
            await reachability_keeper.note_addresses()
            await swarm._healer.join([*bootstrap, *known], require_contact)
            swarm._keep(host.supervise(swarm._healer.rejoin))
            if was is ReachState.UNKNOWN:
                await swarm._healer.settle()
            swarm._keep(swarm._healer.forever())
        except BaseException:
            await swarm.close()
            raise
        return swarm

    def _keep(self, keeper: Coroutine[Any, Any, None]) -> None:
        self._keepers.append(asyncio.create_task(keeper))

    def _note_named(self, addresses: Sequence[str]) -> None:
        """Remember the peers that the user named: about the time they count before strangers."""
        self._named |= {author_of(address.peer_id) for address in parse_all(addresses)}

    # Who and where

    @property
    def author(self) -> bytes:
        return self._host.listen_config.identity.author

    @property
    def port(self) -> int:
        """The TCP port we listen on."""
        return self._host.listen_config.port

    @property
    def p2pd_pid(self) -> int:
        """The process id of our p2pd."""
        return self._daemon.pid

    def addresses(self) -> list[str]:
        return self._reachability_keeper.addresses()

    def known_addresses(self) -> list[str]:
        """Addresses to rejoin through: those given to us and those that answered."""
        return self._healer.known()

    def online(self) -> bool:
        return self._healer.online()

    def peers(self) -> int:
        return len(self._node.neighbours())

    def reachability(self) -> Reachability:
        return self._reachability_keeper.reachability()

    async def way_to(self, author: bytes) -> Way:
        return await self._daemon.way_to(author)

    async def seen_at(self, author: bytes) -> list[str]:
        return await self._daemon.seen_at(author)

    async def network_of(self, author: bytes) -> str:
        return await self._host.network_of(author)

    # Records

    async def store(self, key: str, value: bytes, expires: float) -> bool:
        return await self._records.store(key, value, expires)

    async def withdraw(self, key: str) -> None:
        await self._records.withdraw(key)

    async def lookup(self, key: str) -> list[Entry]:
        return await self._records.lookup(key)

    # Peers and streams

    async def connect(self, address: str) -> None:
        self._note_named([address])
        await self._healer.connect(address)

    async def meet(self, address: str) -> None:
        for worth in await self._worth_dialling([address]):
            return await self._healer.meet(worth)
        raise Unreachable(f"{address} is not an address where we would dial a peer")

    async def open(self, author: bytes, protocol: str, addresses: Sequence[str] = ()) -> Stream:
        if not addresses or await self.way_to(author) is not Way.NONE:
            return await self._host.open(author, protocol)
        return await self._host.open(author, protocol, await self._worth_dialling(addresses))

    async def _worth_dialling(self, named: Sequence[str]) -> list[Address]:
        given = [address.transport for address in parse_all(self.known_addresses())]
        return await worth_dialling(parse_all(named), self._reachability_keeper.transports(), given)

    def doubled(self) -> bool:
        return self._records.doubled()

    async def serve(self, protocol: str, handler: Handler) -> None:
        await self._host.serve(protocol, handler)

    async def clock_skew(self) -> float | None:
        connected = await connections(self._daemon.p2p)
        networks = {author: network_in(address) for author, address in connected}
        neighbours = {author for author in map(author_in, self._node.neighbours()) if author}
        named = self._named & (neighbours | networks.keys())
        others = taking_turns(neighbours - named, networks, PEERS_ASKED, random.SystemRandom())
        asked = [*named, *others]
        offsets = await asyncio.gather(*map(self._offset_from, asked))
        return believed_offset(
            [
                Voice(offset, networks.get(author, ""), author in named)
                for author, offset in zip(asked, offsets, strict=True)
                if offset is not None
            ]
        )

    async def _offset_from(self, author: bytes) -> float | None:
        try:
            async with asyncio.timeout(PATIENCE):
                stream = await self.open(author, TIME_PROTOCOL)
                try:
                    return await ask_offset(stream)
                finally:
                    await stream.close()
        except (Unreachable, BadContent, TimeoutError):
            return None

    async def close(self) -> None:
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        await asyncio.shield(self._leaving)

    async def _leave(self) -> None:
        await end_tasks(*self._keepers)
        await self._host.close()

    @property
    def _daemon(self) -> Daemon:
        """The running p2pd; a new one after each rebuild."""
        return self._host.daemon

    @property
    def _node(self) -> ParisNode:
        return self._host.node
