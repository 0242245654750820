"""The parts that all runs of a machine share."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from paris_p2p.config import PeerConfig
from paris_p2p.home import Home
from paris_p2p.identity import Author, Identity
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.tasks import finished
from paris_p2p.peer.books.contribution_logs import ContributionLogs
from paris_p2p.peer.books.provider_records import ProviderRecords
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.peer.doctor.alarms import Alarms
from paris_p2p.peer.shipped_run import ShippedRun
from paris_p2p.peer.transfer.fetching import Fetcher
from paris_p2p.peer.upkeep.left_runs import LeftRuns
from paris_p2p.store.blobs import Blobs


@dataclass(eq=False)
class Promise:
    """Room in the quota, in bytes, reserved for data that is not on the disk yet."""

    absent: int
    """Bytes still missing of the content that is being fetched."""
    file: int
    """Bytes of the file that will be made of it."""

    @property
    def size(self) -> int:
        return self.absent + self.file

    def arrived(self, have: int, total: int) -> None:
        """Note that `have` of `total` bytes of the content are here."""
        self.absent = total - have


Member = TypeVar("Member")


@dataclass(eq=False, repr=False)
class Node(Generic[Member]):
    """One running node. Functions that concern the whole machine take it as their first argument.

    It is used as `Node[Membership]`. It is generic because `membership` imports this module.
    """

    home: Home
    identity: Identity
    swarm: Swarm
    """The whole swarm. A membership of a members-only run sees only its members."""
    blobs: Blobs
    fetcher: Fetcher
    """Fetches from any peer. A membership's fetcher asks only the peers that it sees."""
    config: PeerConfig = field(default_factory=PeerConfig)
    clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.SystemRandom)
    refusals: Refusals = field(default_factory=lambda: Refusals(None, time.time))
    """The refused content and claims, with author and reason."""
    shipped: ShippedRun | None = None
    """The run that ships with this installation, if any."""
    swarm_fingerprint: str = ""
    """Identifies a private swarm; "" for the open one."""
    memberships: dict[bytes, Member] = field(default_factory=dict)
    """The runs that this node takes part in, by run id."""
    sent: int = 0
    """Bytes served."""
    in_use: Counter[bytes] = field(default_factory=Counter)
    """How many actions need each content now."""
    joining: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a run is joined or left."""
    publishing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from making room for own work until a record names it. Unnamed content may go."""
    admitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from the check for room until the room is promised."""
    making_room: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while room is made: two fetches do not evict the same. One that fits does not wait."""
    promises: set[Promise] = field(default_factory=set)
    """The reserved room in the quota."""
    asking: WeakValueDictionary[Author, asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary
    )
    """Limits the questions to each provider at a time; see `proof_of_storage`."""
    alarms: Alarms = field(init=False)
    contributions: ContributionLogs = field(init=False)
    provider_records: ProviderRecords = field(init=False)
    left_runs: LeftRuns = field(init=False)
    _letting_go: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.alarms = Alarms(self.swarm)
        self.contributions = ContributionLogs(self.home.contributions_dir)
        self.provider_records = ProviderRecords(self.swarm, self.rng)
        self.left_runs = LeftRuns(self.home.runs_dir, self.blobs.chunks, self.memberships)

    async def path(self, content: bytes) -> Path:
        """The verified file of a content in the store."""
        return await asyncio.to_thread(self.blobs.path, content)

    @asynccontextmanager
    async def using(self, contents: Sequence[bytes]) -> AsyncIterator[None]:
        """Inside the block these contents are not dropped. Waits for a drop that is under way."""
        self.in_use.update(contents)
        try:
            async with self._letting_go:
                pass
            yield
        finally:
            self.in_use.subtract(contents)
            self.in_use = +self.in_use  # drops zero counts

    async def let_go(self, content: bytes) -> bool:
        """Drop a content unless it is in use. Returns whether it was dropped.

        A new user of the content waits until this is decided.
        """
        async with self._letting_go:
            if content in self.in_use:
                return False
            await finished(asyncio.to_thread(self.blobs.drop, content))
            return True

    async def let_go_file(self, content: bytes, before: float) -> None:
        """Delete the file made of a content unless it was used since `before` (Unix seconds)."""
        async with self._letting_go:
            if content not in self.in_use:
                await finished(asyncio.to_thread(self._drop_unused_file, content, before))

    def _drop_unused_file(self, content: bytes, before: float) -> None:
        if self.blobs.files().get(content, before) < before:
            self.blobs.drop_file(content)
