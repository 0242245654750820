"""Worlds for tests to live in: some peers on one backend, and the means to kill them.

`MemoryWorld` and `LibP2PWorld` are interchangeable, so one scenario runs on both.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from paris_p2p.identity import Identity
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.swarm import INACTIVITY, Swarm

PATIENCE = 60.0
"""Seconds after which a condition that should become true counts as broken."""


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until `condition` holds. Fails after `PATIENCE`; never sleeps longer than needed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        verdict = condition()
        if await verdict if inspect.isawaitable(verdict) else verdict:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the condition never came true")


class World(Protocol):
    async def start(self, *, inactivity: float = INACTIVITY) -> Swarm: ...
    async def circle(self, count: int) -> list[Swarm]: ...
    async def kill(self, peer: Any) -> None: ...


class MemoryWorld:
    async def __aenter__(self) -> MemoryWorld:
        self.network = MemoryNetwork()
        self.peers: list[MemorySwarm] = []
        return self

    async def __aexit__(self, *_: object) -> None:
        for peer in self.peers:
            await peer.close()

    async def start(self, *, inactivity: float = INACTIVITY) -> MemorySwarm:
        peer = self.network.join(Identity.generate().author, inactivity=inactivity)
        self.peers.append(peer)
        return peer

    async def circle(self, count: int) -> list[MemorySwarm]:
        """`count` peers that all met through the first."""
        peers = [await self.start() for _ in range(count)]
        for peer in peers[1:]:
            await peer.connect(peers[0].addresses()[0])
        return peers

    async def kill(self, peer: MemorySwarm) -> None:
        self.network.drop(peer.author)


class LibP2PWorld:
    """Real p2pd processes on loopback, any free port each."""

    async def __aenter__(self) -> LibP2PWorld:
        self.folder = Path(tempfile.mkdtemp(prefix="paris-test-"))
        self.peers: list[HivemindSwarm] = []
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(peer.close() for peer in self.peers))
        shutil.rmtree(self.folder)

    async def start(self, identity: Identity | None = None, **options: Any) -> HivemindSwarm:
        identity = identity or Identity.generate()
        identity_file = self.folder / identity.peer_id
        identity.save(identity_file)
        defaults: dict[str, Any] = {"listen": "127.0.0.1", "port": 0}
        peer = await HivemindSwarm.start(identity_file, identity, **(defaults | options))
        self.peers.append(peer)
        return peer

    async def circle(self, count: int, **options: Any) -> list[HivemindSwarm]:
        """`count` peers that all met through the first."""
        first = await self.start(**options)
        known = (first.addresses()[0],)
        others = (self.start(bootstrap=known, **options) for _ in range(count - 1))
        return [first, *await asyncio.gather(*others)]

    async def kill(self, peer: HivemindSwarm) -> None:
        """What kill -9 of the whole peer looks like to the others."""
        for keeper in peer._keepers:
            keeper.cancel()
        os.kill(peer.p2pd_pid, signal.SIGKILL)
