"""A bootstrap: a DHT-only peer at a known address. It serves every run and takes part in none.

It has no store, copies nothing and trains nothing. Like every other node of the DHT it keeps
records. It tells newcomers about other peers, and dials back any peer that asks. If it is given a
run, it announces its presence there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

from paris_p2p.errors import ParisError
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.key_pages import KeyPages
from paris_p2p.network.periodic import attempt, repeat
from paris_p2p.network.reach.dial_back import DIALBACK_PROTOCOL
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.books.announcing import LIFETIME, PERIOD
from paris_p2p.peer.doctor.alarms import Alarms
from paris_p2p.peer.doctor.dial_back_check import dialback_server
from paris_p2p.peer.last_session import remember_peers
from paris_p2p.records.keys import PEER_LEVELS, peers_key
from paris_p2p.records.presence import BOOTSTRAP, sealed_presence


@dataclass
class Bootstrap:
    """A running bootstrap. `run_id` is the run in which it announces itself, or None."""

    home: Home
    identity: Identity
    swarm: Swarm
    run_id: bytes | None
    clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.SystemRandom)
    alarms: Alarms = field(init=False)
    _pages: KeyPages = field(init=False)

    def __post_init__(self) -> None:
        self.alarms = Alarms(self.swarm)
        self._pages = KeyPages(self.swarm, PEER_LEVELS, self.rng)

    @property
    def runs(self) -> tuple[bytes, ...]:
        """The run in which the bootstrap announces itself, if there is one."""
        return () if self.run_id is None else (self.run_id,)

    async def announce(self) -> None:
        """Announce its presence for LIFETIME seconds, where newcomers of the run look for peers."""
        if self.run_id is None:
            return
        now = self.clock()
        presence = sealed_presence(
            self.identity, self.run_id, self.swarm.addresses(), BOOTSTRAP, now
        )
        await self._pages.store(peers_key(self.run_id), presence, now + LIFETIME)

    async def withdraw(self) -> None:
        """Withdraw the record that `announce` stored."""
        if self.run_id is not None:
            await self._pages.withdraw(peers_key(self.run_id))

    async def remember(self) -> None:
        """Save the addresses of all known peers for the next start."""
        await asyncio.to_thread(remember_peers, self.home, self.swarm.known_addresses())


@contextlib.asynccontextmanager
async def running_bootstrap(
    home: Home, identity: Identity, swarm: Swarm, run_id: bytes | None
) -> AsyncIterator[Bootstrap]:
    """A bootstrap on a started swarm until the block is left; the caller closes the swarm."""
    bootstrap = Bootstrap(home, identity, swarm, run_id)
    await swarm.serve(DIALBACK_PROTOCOL, dialback_server(swarm, bootstrap.runs, time.monotonic))
    await bootstrap.alarms.look()
    duties = partial(_do_duties, bootstrap)
    keeping = asyncio.create_task(repeat(PERIOD, duties, bootstrap.rng, first=0))
    try:
        yield bootstrap
    finally:
        await end_tasks(keeping)
        with contextlib.suppress(TimeoutError, ParisError):
            async with asyncio.timeout(5):
                await bootstrap.withdraw()


async def _do_duties(bootstrap: Bootstrap) -> None:
    for duty in (bootstrap.announce, bootstrap.remember, bootstrap.alarms.look):
        await attempt(duty)
