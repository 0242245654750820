"""A bootstrap: a DHT-only peer at a known address. It serves every run and takes part in none.

It has no store, copies nothing and trains nothing. It keeps records like every other node of the
DHT, tells newcomers who else is there, dials back who asks, and says under one run, if it is told
which, that it is a bootstrap.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import paris_p2p
from paris_p2p.errors import ParisError
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.clock import pause
from paris_p2p.network.key_pages import Pages
from paris_p2p.network.reach.dial_back import DIALBACK_PROTOCOL
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.books.announcing import LIFETIME, PERIOD
from paris_p2p.peer.doctor.alarms import Alarms
from paris_p2p.peer.doctor.dial_back_check import dialback_server
from paris_p2p.peer.last_session import remember_peers
from paris_p2p.records.keys import PEER_LEVELS, peers_key
from paris_p2p.records.presence import BOOTSTRAP, Presence

log = logging.getLogger(__name__)


@dataclass
class Bootstrap:
    """A running bootstrap. `run_id` is the run under which it says that it is one, or None."""

    home: Home
    identity: Identity
    swarm: Swarm
    run_id: bytes | None
    clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.SystemRandom)
    alarms: Alarms = field(init=False)
    _pages: Pages = field(init=False)

    def __post_init__(self) -> None:
        self.alarms = Alarms(self.swarm)
        self._pages = Pages(self.swarm, PEER_LEVELS, self.rng)

    @property
    def runs(self) -> tuple[bytes, ...]:
        """The run under which it says that it is a bootstrap, if there is one."""
        return () if self.run_id is None else (self.run_id,)

    async def announce(self) -> None:
        """Say "I am here" for LIFETIME seconds, where newcomers of the run look for peers."""
        if self.run_id is None:
            return
        presence = Presence(
            run=self.run_id,
            author=self.identity.author,
            addresses=tuple(self.swarm.addresses()),
            agent=f"paris-p2p/{paris_p2p.__version__}",
            role=BOOTSTRAP,
            time=self.clock(),
        )
        expires = self.clock() + LIFETIME
        await self._pages.store(peers_key(self.run_id), presence.seal(self.identity), expires)

    async def withdraw(self) -> None:
        """Take back what `announce` said."""
        if self.run_id is not None:
            await self._pages.withdraw(peers_key(self.run_id))

    async def remember(self) -> None:
        """Keep the addresses of everybody met, for the next start."""
        await asyncio.to_thread(remember_peers, self.home, self.swarm.known_addresses())


@contextlib.asynccontextmanager
async def running_bootstrap(
    home: Home, identity: Identity, swarm: Swarm, run_id: bytes | None
) -> AsyncIterator[Bootstrap]:
    """A bootstrap on a started swarm until the block is left; the caller closes the swarm."""
    bootstrap = Bootstrap(home, identity, swarm, run_id)
    await swarm.serve(DIALBACK_PROTOCOL, dialback_server(swarm, bootstrap.runs, time.monotonic))
    await bootstrap.alarms.look()
    keeping = asyncio.create_task(_keep(bootstrap))
    try:
        yield bootstrap
    finally:
        await end_tasks(keeping)
        with contextlib.suppress(TimeoutError, ParisError):
            async with asyncio.timeout(5):
                await bootstrap.withdraw()


async def _keep(bootstrap: Bootstrap) -> None:
    """Do what has to be done every PERIOD seconds (+-20%); a failure waits for the next round."""
    while True:
        for duty in (bootstrap.announce, bootstrap.remember, bootstrap.alarms.look):
            try:
                await duty()
            except (ParisError, TimeoutError, OSError) as error:
                log.warning("%s", error)
            except Exception:
                log.exception("%s failed and is tried again", duty.__name__)
        await pause(PERIOD * bootstrap.rng.uniform(0.8, 1.2))
