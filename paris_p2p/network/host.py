"""p2pd and the DHT node on it, kept alive under one key; the streams that run through them.

When p2pd dies, hangs, or must change its mode, both are rebuilt with the same key, port and stream
handlers. Records that the node holds for others are kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain, repeat
from typing import Any
from weakref import WeakSet

from paris_p2p.errors import ParisError, Unreachable
from paris_p2p.identity import author_of
from paris_p2p.network.clock import TIME_PROTOCOL, tell_time
from paris_p2p.network.dht.call_quota import Quotas
from paris_p2p.network.dht.hardening import ParisProtocol
from paris_p2p.network.dht.node import ParisNode
from paris_p2p.network.dht.record_store import RecordStore
from paris_p2p.network.dht.validator import Validator
from paris_p2p.network.p2pd.daemon import Daemon, DaemonStream, peer_id
from paris_p2p.network.p2pd.listening import MAX_ADDRESSES, ListenConfig
from paris_p2p.network.p2pd.process import DAEMON_ERRORS, START_TIMEOUT, Mode
from paris_p2p.network.private_swarm import membership
from paris_p2p.network.reach.reachability_types import Way
from paris_p2p.network.stream_permits import StreamPermits
from paris_p2p.network.swarm import Handler, Stream
from paris_p2p.network.swarm_key import SwarmKey
from paris_p2p.network.tasks import end_tasks
from paris_p2p.records.address import Address

logger = logging.getLogger(__name__)

READY_TIMEOUT = 10.0
"""Seconds that calls wait for a p2pd that is being rebuilt."""

REJOIN_PATIENCE = 3.0
"""Seconds that they also wait for it to rejoin."""

REBUILD_PAUSES = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each attempt to rebuild; the last repeats."""

MAX_STREAMS = 256
MAX_STREAMS_PER_PEER = 64
"""Streams we serve at a time; `stream_permits` decides which are closed beyond that."""

DIRECT_FIRST = 1.0
"""Seconds that direct dials have before relays are dialled too."""

PUNCH_LOOKS = 10
PUNCH_LOOK = 0.15
"""How often, and how many seconds apart, we check whether hole punching has made a relayed
connection direct. Then it is used as it is: a transfer stays on the connection it began on."""


class Host:
    """One peer's libp2p and DHT node. `build` it, then keep it with `supervise`."""

    def __init__(
        self,
        listen_config: ListenConfig,
        mode: Mode,
        record_store: RecordStore,
        quotas: Quotas,
        swarm_key: SwarmKey | None,
    ) -> None:
        self.listen_config = listen_config
        self.mode = mode
        self.hidden = False
        self.membership = membership(swarm_key, listen_config.identity.author, self._dial_stream)
        self.ready = asyncio.Event()
        self.daemon: Daemon
        self.node: ParisNode
        self._record_store = record_store
        self._quotas = quotas
        self._validator = Validator()
        self._handlers: dict[str, Handler] = {}
        self._taken_up: set[str] = set()
        """The protocols that this p2pd serves: it refuses to take one up twice."""
        self._serving: set[asyncio.Task[None]] = set()
        self._permits = StreamPermits(MAX_STREAMS, MAX_STREAMS_PER_PEER, self.network_of)
        self._opened: WeakSet[DaemonStream] = WeakSet()

    # Life and death

    async def build(self) -> None:
        """Start p2pd and a DHT node on it, with all our stream handlers. Raises `ParisError`."""
        self.daemon = await Daemon.start(self.listen_config, self.mode)
        self._taken_up = set()
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._take_up_work()
        except DAEMON_ERRORS as error:
            raise ParisError("libp2p has started but does not answer") from error

    async def supervise(self, rejoin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Rebuild and `rejoin` whenever p2pd dies. Never returns, whatever goes wrong."""
        while True:
            try:
                await self._outlive(rejoin)
            except Exception:
                logger.exception("a bug while supervising p2pd")
                await asyncio.sleep(REBUILD_PAUSES[-1])

    async def _outlive(self, rejoin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until p2pd has died, then replace it."""
        await self.daemon.died()
        if self.ready.is_set():
            logger.warning("p2pd has died or hangs; restarting it")
        self.ready.clear()
        await self.daemon.stop()
        await self._rebuild()
        await self._come_back(rejoin)

    async def _come_back(self, rejoin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Rejoin; become ready after REJOIN_PATIENCE in any case. Ends early if p2pd dies."""
        ends = [asyncio.create_task(rejoin()), asyncio.create_task(self.daemon.died())]
        try:
            await asyncio.wait(ends, timeout=REJOIN_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            self.ready.set()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(*ends)

    def switch(self, mode: Mode) -> None:
        """Restart p2pd in another mode. It takes about half a second."""
        if mode is not self.mode:
            logger.info("p2pd restarts in mode %s", mode)
            self.mode = mode
            self.restart()

    def restart(self) -> None:
        """Restart p2pd. It takes about half a second."""
        self.ready.clear()
        self.daemon.kill()

    def hide(self, hidden: bool) -> None:
        """Whether to stay out of others' routing tables, as a peer that cannot be dialled must."""
        self.hidden = hidden
        self.node.protocol.hide(hidden)

    def busy(self) -> bool:
        """Whether streams are open that a restart of p2pd would break."""
        return bool(self._serving or self._opened)

    async def until_ready(self) -> None:
        """Wait while p2pd is being rebuilt. Raises `Unreachable`."""
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await self.ready.wait()
        except TimeoutError as error:
            raise Unreachable("libp2p is not running") from error

    async def close(self) -> None:
        """Stop p2pd and all streams. Safe to call before `build`."""
        if hasattr(self, "daemon"):
            await self.daemon.stop()
        await end_tasks(*self._serving)

    async def _take_up_work(self) -> None:
        protocol = await ParisProtocol.start(
            self.daemon.p2p,
            self._record_store,
            self._validator,
            time.time,
            self.membership,
            self._quotas,
        )
        self.node = ParisNode.around(protocol)
        self.hide(self.hidden)
        own = {TIME_PROTOCOL: tell_time, **self.membership.handlers()}
        self._handlers = own | self._handlers
        for name in list(self._handlers):
            await self._take_up(name)

    async def _rebuild(self) -> None:
        for pause in chain(REBUILD_PAUSES, repeat(REBUILD_PAUSES[-1])):
            await asyncio.sleep(pause)
            mode = self.mode
            try:
                await self.build()
                if mode is self.mode:
                    break
            except ParisError as error:
                logger.warning("p2pd does not restart: %s", error)
            except Exception:
                logger.exception("a bug while restarting p2pd")
            await self.daemon.stop()

    # Peers

    def neighbours(self) -> list[Any]:
        """The peer ids in the routing table, in hivemind's form."""
        return self.node.neighbours()

    async def dial(self, author: bytes, addresses: Sequence[Address]) -> None:
        """Try to connect to `author` at any of its addresses. Does not tell whether it succeeded.

        Relays are dialled only after direct dials have had DIRECT_FIRST seconds.
        """
        ours = [a for a in addresses if author_of(a.peer_id) == author][:MAX_ADDRESSES]
        direct = [address for address in ours if address.relay is None]
        relayed = [address for address in ours if address.relay is not None]
        dials = {asyncio.create_task(self.daemon.dial(address)) for address in direct}
        try:
            if not await _one_succeeds(dials, DIRECT_FIRST if relayed else None):
                over = {asyncio.create_task(self.daemon.dial(address)) for address in relayed}
                left = {dial for dial in dials if not dial.done()} | over
                dials |= over
                await _one_succeeds(left, None)
        finally:
            await end_tasks(*dials)
        if relayed and await self.daemon.way_to(author) is Way.RELAYED:
            await self._until_direct(author)

    async def _until_direct(self, author: bytes) -> None:
        for _ in range(PUNCH_LOOKS):
            if await self.daemon.way_to(author) is Way.DIRECT:
                return
            await asyncio.sleep(PUNCH_LOOK)

    # Streams

    async def open(self, author: bytes, protocol: str, addresses: Sequence[Address] = ()) -> Stream:
        """A stream to a peer, dialled first if necessary. Raises `Unreachable`."""
        await self.until_ready()
        if addresses and await self.daemon.way_to(author) is Way.NONE:
            await self.dial(author, addresses)
        return await self.membership.open(author, protocol)

    async def serve(self, protocol: str, handler: Handler) -> None:
        """Handle streams opened to us under `protocol`, also after every rebuild.

        Raises `Unreachable` if a p2pd that stays up refuses.
        """
        self._handlers[protocol] = handler
        while True:
            asked = self._taken_up
            try:
                return await self._take_up(protocol)
            except Unreachable:
                await self.until_ready()
                if asked is self._taken_up:
                    raise

    async def network_of(self, author: bytes) -> str:
        """See `Swarm.network_of`."""
        network: str = await self.node.protocol.subnets.network_of(author)
        return network

    async def ping(self, author: bytes) -> bool:
        """Whether a peer is alive and is a DHT node like us."""
        return bool(await self.node.protocol.call_ping(peer_id(author)))

    async def meet_through(self, author: bytes) -> bool:
        """See `ParisNode.meet_through`."""
        return bool(await self.node.meet_through(peer_id(author)))

    async def _take_up(self, protocol: str) -> None:
        taken_up = self._taken_up
        if protocol in taken_up:
            return
        taken_up.add(protocol)
        try:
            await self.daemon.serve(protocol, lambda stream: self._run(protocol, stream))
        except Unreachable:
            taken_up.discard(protocol)
            raise

    async def _dial_stream(self, author: bytes, protocol: str) -> Stream:
        stream = await self.daemon.open(author, protocol)
        self._opened.add(stream)
        return stream

    async def _run(self, protocol: str, stream: DaemonStream) -> None:
        """Run the handler of one stream, if quota and permits allow it."""
        task = asyncio.current_task()
        if task is None or not self._quotas.streams.take(stream.author):
            return
        permit = await self._permits.take(stream)
        if permit is None:
            return
        self._serving.add(task)
        try:
            if protocol in self.membership.handlers() or await self.membership.greet(stream):
                await self._handlers[protocol](stream.author, stream)
        except ParisError as error:
            logger.debug("a %s stream ended: %s", protocol, error)
        except Exception:
            logger.exception("the handler of %s failed", protocol)
        finally:
            self._serving.discard(task)
            self._permits.leave(permit)


async def _one_succeeds(dials: set[asyncio.Task[None]], patience: float | None) -> bool:
    """Whether one of `dials` succeeds within `patience` seconds (None: no limit)."""
    loop = asyncio.get_running_loop()
    deadline = None if patience is None else loop.time() + patience
    pending = dials
    while pending:
        left = None if deadline is None else max(0.0, deadline - loop.time())
        done, pending = await asyncio.wait(
            pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        failures = [dial.exception() for dial in done if not dial.cancelled()]
        for failure in filter(None, failures):
            logger.info("%s: %s", failure, failure.__cause__)
        if None in failures:
            return True
        if not done:
            return False
    return False
