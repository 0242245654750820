"""What a machine has once, however many runs it takes part in."""

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
    """Room in the quota for what is not on the disk yet, in bytes."""

    absent: int
    """Of the content that is being fetched."""
    file: int
    """Of the file that will be made of it."""

    @property
    def size(self) -> int:
        return self.absent + self.file

    def arrived(self, have: int, total: int) -> None:
        """So much of the content is here now."""
        self.absent = total - have


Member = TypeVar("Member")


@dataclass(eq=False, repr=False)
class Node(Generic[Member]):
    """One running node. Verbs that only concern the machine take it as their first argument.

    Its memberships are `Membership`s, which stand on this module: `Node[Membership]`.
    """

    home: Home
    identity: Identity
    swarm: Swarm
    """All of it; a membership sees its run's members only, where the run lists them."""
    blobs: Blobs
    fetcher: Fetcher
    """Asks anybody; a membership's asks those whom it sees."""
    config: PeerConfig = field(default_factory=PeerConfig)
    clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.SystemRandom)
    refusals: Refusals = field(default_factory=lambda: Refusals(None, time.time))
    """What was refused, from whom and why."""
    shipped: ShippedRun | None = None
    """The run that ships with this installation, where it does."""
    swarm_fingerprint: str = ""
    """Tells a private swarm from others; "" for the open one."""
    memberships: dict[bytes, Member] = field(default_factory=dict)
    """The runs that this node takes part in, by their ids."""
    sent: int = 0
    """Bytes served."""
    in_use: Counter[bytes] = field(default_factory=Counter)
    """How many verbs need each content now."""
    joining: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a run is joined or left."""
    publishing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from making room for own work until a record names it: what none names may go."""
    admitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from looking for room for what is to be fetched until that is promised."""
    making_room: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while room is made: two do not let go the same, and what fits all the same waits not."""
    promises: set[Promise] = field(default_factory=set)
    """The room in the quota that is spoken for."""
    asking: WeakValueDictionary[Author, asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary
    )
    """The turns of those who ask a provider whether it has something; see `proof_of_storage`."""
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
        """The verified file of a content held in the store."""
        return await asyncio.to_thread(self.blobs.path, content)

    @asynccontextmanager
    async def using(self, contents: Sequence[bytes]) -> AsyncIterator[None]:
        """While it lasts, these contents are not let go; one that is just going is gone before."""
        self.in_use.update(contents)
        try:
            async with self._letting_go:
                pass
            yield
        finally:
            self.in_use.subtract(contents)
            self.in_use = +self.in_use  # without what nobody needs any more

    async def let_go(self, content: bytes) -> bool:
        """Drop a content unless it is in use; whether it is gone.

        Whoever begins to use it meanwhile waits until that is decided.
        """
        async with self._letting_go:
            if content in self.in_use:
                return False
            await finished(asyncio.to_thread(self.blobs.drop, content))
            return True

    async def let_go_file(self, content: bytes, before: float) -> None:
        """Delete the file made of a content, unless it was used since `before` (Unix seconds)."""
        async with self._letting_go:
            if content not in self.in_use:
                await finished(asyncio.to_thread(self._drop_unused_file, content, before))

    def _drop_unused_file(self, content: bytes, before: float) -> None:
        if self.blobs.files().get(content, before) < before:
            self.blobs.drop_file(content)
