"""Whether our own relay carries enough, measured by a second p2pd.

p2pd has two relay services, and on a busy machine the wrong one may come up first: it cuts every
connection off after 128 KiB. Others would pass us over without telling us. So we make a reservation
at our own relay, and restart p2pd until the right service answers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from paris_p2p.errors import ParisError
from paris_p2p.identity import Identity
from paris_p2p.network.host import Host
from paris_p2p.network.p2pd.daemon import Daemon
from paris_p2p.network.p2pd.listening import ListenConfig, choose_port, transport_of
from paris_p2p.network.p2pd.process import Mode
from paris_p2p.network.p2pd.socket_folder import SocketFolder
from paris_p2p.network.reach.relay_reservation import RelayLimit
from paris_p2p.network.reach.relays import carries_enough, reserve_at
from paris_p2p.records.address import Address

logger = logging.getLogger(__name__)

RESTARTS = 5
"""How often p2pd is restarted before we accept a relay of little use."""

INACTIVITY = 5.0

Measure = Callable[[ListenConfig], Awaitable[RelayLimit]]


class SelfTest:
    """Tests each relaying p2pd of `host` once."""

    def __init__(self, host: Host, measure: Measure) -> None:
        self._host = host
        self._measure = measure
        self._tested: Daemon | None = None
        self._restarts = 0

    async def run(self) -> None:
        """Test p2pd unless it has been tested; restart it if it carries too little."""
        daemon = self._host.daemon
        if self._host.mode is not Mode.RELAY or daemon is self._tested:
            return
        try:
            limit = await self._measure(self._host.listen_config)
        except ParisError as error:
            logger.info("our own relay could not be tested: %s", error)
            return
        if carries_enough(limit):
            self._tested, self._restarts = daemon, 0
        elif self._restarts == RESTARTS:
            self._tested = daemon
            logger.warning("our relay carries only %d bytes a connection", limit.bytes)
        elif not self._host.busy():
            self._restarts += 1
            logger.info("our relay carries only %d bytes a connection; restarting it", limit.bytes)
            self._host.restart()


async def limit_of(listen_config: ListenConfig) -> RelayLimit:
    """The relay limit of a peer on this machine. Raises `ParisError`."""
    folder = SocketFolder()
    try:
        asker = await Daemon.start(_anybody(folder.path), Mode.PUNCH)
        try:
            return await reserve_at(
                asker, Address(from_here(listen_config), listen_config.identity.peer_id)
            )
        finally:
            await asker.stop()
    finally:
        folder.remove()


def from_here(listen_config: ListenConfig) -> str:
    """The transport by which this machine reaches a peer that listens at `listen_config`."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return transport_of(here.get(listen_config.listen, listen_config.listen), listen_config.port)


def _anybody(folder: Path) -> ListenConfig:
    """The configuration of a new, short-lived peer."""
    identity = Identity.generate()
    identity.save(folder / "key")
    return ListenConfig(
        folder / "key", identity, "127.0.0.1", choose_port("127.0.0.1", 0), (), INACTIVITY
    )
