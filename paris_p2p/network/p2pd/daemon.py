"""One p2pd: libp2p in a child process, controlled over unix sockets by hivemind's `P2P`.

`Daemon` dials through it, opens and serves streams on it, and notices when it dies or hangs.
`process` starts and ends the process. Errors of hivemind or p2pd leave these modules as
`Unreachable`, `PortInUse` or `StreamClosed`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import author_of, peer_id_of
from paris_p2p.network.dht.bounded_tables import bind_tables
from paris_p2p.network.dht.light_hivemind import Multiaddr, PeerID
from paris_p2p.network.p2pd.listening import ListenConfig
from paris_p2p.network.p2pd.pipe import SocketPipe
from paris_p2p.network.p2pd.process import DAEMON_ERRORS, Mode, end_now, hear_out, launch
from paris_p2p.network.p2pd.socket_folder import SocketFolder
from paris_p2p.network.reach.reachability_types import Way
from paris_p2p.network.reach.relay_reservation import circuit_bytes
from paris_p2p.network.reach.tcp_probe import probe
from paris_p2p.records.address import CIRCUIT, Address

logger = logging.getLogger(__name__)

STOP_TIMEOUT = 3.0
DIAL_TIMEOUT = 5.0
OPEN_TIMEOUT = 10.0

LOOK_TIMEOUT = 1.0
"""Seconds for p2pd to list its peers: a caller waits for it and must not take us for gone."""

HEARTBEAT = 5.0
HEARTBEAT_PATIENCE = 10.0
HEARTBEATS_MISSED = 2
"""Seconds between heartbeats, seconds p2pd has to answer, and misses in a row that end it."""

OPENING_AT_ONCE = 20
"""Streams opened at a time; p2pd refuses bursts far above this."""

_ANOTHER_KEY = re.compile(r"peer id mismatch: .{0,99} remote key matches (\w{1,64})")

Accept = Callable[["DaemonStream"], Awaitable[None]]


def peer_id(author: bytes) -> Any:
    """hivemind's form of a peer's id."""
    return PeerID.from_base58(peer_id_of(author))


def author_in(remote: Any) -> bytes | None:
    """The public key in hivemind's form of a peer id; None for keys that are not Ed25519."""
    try:
        return author_of(remote.to_base58())
    except BadContent:
        return None


async def connections(p2p: Any) -> list[tuple[bytes, str]]:
    """The peers connected to p2pd, and from where; empty while it does not answer."""
    try:
        async with asyncio.timeout(LOOK_TIMEOUT):
            peers = await p2p.list_peers()
        connections = [(author_in(p.peer_id), str(address)) for p in peers for address in p.addrs]
    except Exception as error:  # any error of the library on a stranger's address
        logger.debug("p2pd does not list its peers: %r", error)
        return []
    return [(author, address) for author, address in connections if author]


class AnotherKey(Unreachable):
    """Another peer answers than the one that the address names."""


def _not_reached(address: Address, error: Exception) -> Unreachable:
    """Why a dial failed. p2pd names the peer that answered instead only in text, and only once."""
    answering = _ANOTHER_KEY.search(str(error))
    if answering is None:
        return Unreachable(f"nobody answers at {address}")
    return AnotherKey(
        f"{answering[1]} answers at {address.transport}, not {address.peer_id}",
        "Ask that peer's operator for its current address",
    )


class Daemon:
    """A running p2pd."""

    def __init__(self, p2p: Any, folder: SocketFolder, inactivity: float) -> None:
        self.p2p = p2p
        self._folder = folder
        self._inactivity = inactivity
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        for task in self._conversation():
            task.add_done_callback(hear_out)

    @classmethod
    async def start(cls, listen_config: ListenConfig, mode: Mode) -> Daemon:
        """Start p2pd. It dials no peer by itself. Raises `ParisError`."""
        p2p, folder = await launch(listen_config, mode)
        bind_tables(p2p._client.control)
        return cls(p2p, folder, listen_config.inactivity)

    @property
    def pid(self) -> int:
        """p2pd's process id."""
        return int(self.p2p._child.pid)

    async def died(self) -> None:
        """Return once p2pd is gone, hangs, or is disconnected from us. hivemind does not notice."""
        ends = [
            asyncio.ensure_future(self.p2p._child.wait()),
            asyncio.ensure_future(self._hung()),
        ]
        try:
            await asyncio.wait({*ends, *self._conversation()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def _hung(self) -> None:
        """Return once p2pd has missed several heartbeats in a row."""
        missed = 0
        while missed < HEARTBEATS_MISSED:
            await asyncio.sleep(HEARTBEAT)
            missed = 0 if await self._answers() else missed + 1

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(HEARTBEAT_PATIENCE):
                await self.p2p._client.identify()
        except DAEMON_ERRORS:
            return False
        return True

    def kill(self) -> None:
        """Kill p2pd at once; `died` returns then."""
        with suppress(ProcessLookupError):
            self.p2p._child.kill()

    def _conversation(self) -> list[asyncio.Task[None]]:
        """hivemind's tasks that talk to p2pd and learn of streams opened to us, as far as they have
        begun. All of them are needed."""
        control = self.p2p._client.control
        tasks = (control._read_task, control._write_task, self.p2p._listen_task)
        return [task for task in tasks if task is not None]

    async def stop(self) -> None:
        """End p2pd, by force if need be, and remove its sockets. Never raises."""
        try:
            with suppress(*DAEMON_ERRORS):
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self.p2p.shutdown()
        finally:
            end_now(self.p2p, self._folder)
        await self.p2p._child.wait()

    async def transports(self) -> list[str]:
        """Where p2pd believes itself reachable, as multiaddrs without peer id."""
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                _, addresses = await self.p2p._client.identify()
        except DAEMON_ERRORS as error:
            raise Unreachable("our own libp2p does not answer") from error
        return [str(address) for address in addresses]

    async def way_to(self, author: bytes) -> Way:
        """How this peer is connected to p2pd now."""
        ways = await self._connections(author)
        if not ways:
            return Way.NONE
        return Way.RELAYED if all(CIRCUIT in way for way in ways) else Way.DIRECT

    async def seen_at(self, author: bytes) -> list[str]:
        """The transports of a peer's direct connections; none while p2pd does not answer."""
        return [way for way in await self._connections(author) if CIRCUIT not in way]

    async def _connections(self, author: bytes) -> list[str]:
        """The remote multiaddrs of a peer's connections."""
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                peers = await self.p2p.list_peers()
        except DAEMON_ERRORS:
            return []
        wanted = peer_id(author)
        ends = (str(a) for peer in peers if peer.peer_id == wanted for a in peer.addrs)
        return list(dict.fromkeys(ends))

    async def dial(self, address: Address) -> None:
        """Connect to a peer at an address. Raises `Unreachable`."""
        target = PeerID.from_base58(address.peer_id)
        try:
            await probe((address.relay or address).transport, DIAL_TIMEOUT)
            transport = Multiaddr(_encoded(address))
            async with asyncio.timeout(DIAL_TIMEOUT):
                await self.p2p._client.connect(target, [transport])
        except (*DAEMON_ERRORS, ValueError) as error:
            raise _not_reached(address, error) from error

    async def open(self, author: bytes, protocol: str) -> DaemonStream:
        """A new stream to a peer. Raises `Unreachable`."""
        try:
            async with self._opening, asyncio.timeout(OPEN_TIMEOUT):
                _, reader, writer = await self.p2p.call_binary_stream_handler(
                    peer_id(author), protocol
                )
        except DAEMON_ERRORS as error:
            raise Unreachable(f"peer {peer_id_of(author)} does not answer {protocol}") from error
        return DaemonStream(author, reader, writer, self._inactivity)

    async def serve(self, protocol: str, accept: Accept) -> None:
        """Call `accept` with every stream opened to us; close the stream when it returns."""

        async def handle(info: Any, reader: asyncio.StreamReader, writer: Any) -> None:
            author = author_in(info.peer_id)
            try:
                if author is not None:
                    await accept(DaemonStream(author, reader, writer, self._inactivity))
            finally:
                writer.close()

        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await self.p2p.add_binary_stream_handler(protocol, handle)
        except DAEMON_ERRORS as error:
            raise Unreachable(f"libp2p does not accept a handler for {protocol}") from error


class DaemonStream:
    """A stream between us and a remote peer, through p2pd. Keeps the `Stream` contract.

    Both directions are closed together: half-closing (`write_eof`) does not work through p2pd.
    """

    def __init__(
        self,
        author: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        inactivity: float,
    ) -> None:
        self._author = author
        self._pipe = SocketPipe(reader, writer)
        self._inactivity = inactivity

    @property
    def author(self) -> bytes:
        return self._author

    async def read_exactly(self, size: int, *, patience: float | None = None) -> bytes:
        data = bytearray(size)
        await self.read_into(memoryview(data), patience=patience)
        return bytes(data)

    async def read_into(self, target: memoryview, *, patience: float | None = None) -> None:
        limit = self._inactivity if patience is None else patience
        await self._pipe.read_into(target, limit)

    async def write(self, data: bytes) -> None:
        await self._pipe.write(data, self._inactivity)

    async def close(self) -> None:
        self._pipe.close()


def _encoded(address: Address) -> bytes:
    """A peer's address as p2pd reads it."""
    relay = address.relay
    if relay is None:
        return bytes(Multiaddr(address.transport).to_bytes())
    return circuit_bytes(Multiaddr(relay.transport).to_bytes(), author_of(relay.peer_id))
