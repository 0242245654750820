"""A node's life, from a started swarm to the withdrawal of its records."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from paris_p2p.config import PeerConfig
from paris_p2p.errors import ParisError
from paris_p2p.files import sweep_partial_files
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.pacing import Pacer, Pacers
from paris_p2p.network.periodic import attempt, repeat
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer import peer_exchange
from paris_p2p.peer.books import announcing, contributions
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.peer.doctor import alarms
from paris_p2p.peer.joining import join
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.run_choice import expect_same_swarm, session_runs
from paris_p2p.peer.serving import serve
from paris_p2p.peer.shipped_run import ShippedRun, seed_shipped_run
from paris_p2p.peer.training.snapshots import sweep_unfinished
from paris_p2p.peer.transfer.fetching import Fetcher
from paris_p2p.peer.upkeep import garbage_collection, replication, scrubbing
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore

log = logging.getLogger(__name__)

FIRST_LOGS = 0.5
"""Seconds before the contribution logs are announced for the first time. Starting does not wait."""


@contextlib.asynccontextmanager
async def running_node(
    home: Home,
    identity: Identity,
    swarm: Swarm,
    config: PeerConfig,
    shipped: ShippedRun | None,
    *,
    seed: bool,
    replicate: bool,
    swarm_fingerprint: str = "",
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Node[Membership]]:
    """A node that serves, announces and replicates until the block ends.

    Parameters
    ----------
    swarm : a started swarm; closed by the caller.
    shipped : the shipped run, for the default run and for seeding; None if there is none.
    seed : take the shipped run's content into the store first.
    replicate : copy content that has too few providers.
    swarm_fingerprint : identifies a private swarm; "" for the open one.
    clock : Unix time.

    Raises the errors of `join` if no run can be joined, or a run that `config` names cannot.
    UsageProblem if the saved runs are in another swarm.
    """
    sweep_partial_files(home.path)
    expect_same_swarm(home, swarm_fingerprint)
    await asyncio.to_thread(sweep_unfinished, home.snapshots_dir)
    await asyncio.to_thread(shutil.rmtree, home.import_dir, ignore_errors=True)
    node = _new_node(home, identity, swarm, config, clock)
    node.shipped, node.swarm_fingerprint = shipped, swarm_fingerprint
    await _join_all(node, session_runs(home, config, shipped))
    if seed and shipped is not None and shipped.id in node.memberships:
        heads = node.memberships[shipped.id].heads
        await asyncio.to_thread(seed_shipped_run, shipped, node.blobs, heads)
    await serve(node)
    for membership in list(node.memberships.values()):
        await membership.announcer.everything()
    await node.alarms.look()
    chores = _chores(node, replicate)
    try:
        yield node
    finally:
        await end_tasks(*chores)
        await _withdraw(node)


def _new_node(
    home: Home,
    identity: Identity,
    swarm: Swarm,
    config: PeerConfig,
    clock: Callable[[], float],
) -> Node[Membership]:
    """A node without runs that announces and serves nothing yet."""
    blobs = Blobs(ChunkStore(home.store_dir), home.cache_dir)
    refusals = Refusals(home.refusals_file, clock)
    fetcher = Fetcher(
        swarm,
        blobs,
        clock=asyncio.get_running_loop().time,
        pacers=Pacers(Pacer(config.upload_limit or None), Pacer(config.download_limit or None)),
        allow_private_seeds=config.allow_private_seeds,
        refusals=refusals,
    )
    return Node(home, identity, swarm, blobs, fetcher, config, clock, refusals=refusals)


async def _join_all(node: Node[Membership], runs: Sequence[bytes]) -> None:
    """Join the runs of a session. A saved run that cannot be joined is skipped."""
    for number, run_id in enumerate(runs, start=1):
        try:
            await join(node, run_id)
        except ParisError as error:
            is_last = number == len(runs) and not node.memberships
            if node.config.run or is_last:
                raise
            log.warning("cannot join the run %s: %s", run_id.hex(), error)


def _chores(node: Node[Membership], replicate: bool) -> list[asyncio.Task[None]]:
    """The periodic tasks of a node."""
    chores = [
        _repeat(announcing.PERIOD, node, _in_each_run(lambda one: one.announcer.everything())),
        _repeat(garbage_collection.PERIOD, node, garbage_collection.collect),
        _repeat(scrubbing.PERIOD, node, scrubbing.Scrub()),
        _repeat(peer_exchange.PERIOD, node, _in_each_run(peer_exchange.meet_some)),
        _repeat(alarms.PERIOD, node, lambda node: node.alarms.look()),
        _repeat(contributions.PERIOD, node, _tell_logs, first=FIRST_LOGS),
    ]
    if replicate:
        copying = replication.replicate
        chores.append(_repeat(replication.PERIOD, node, copying, first=replication.FIRST))
    return chores


async def _withdraw(node: Node[Membership]) -> None:
    """Withdraw the records of this node, within 5 seconds."""
    with contextlib.suppress(TimeoutError, ParisError):
        async with asyncio.timeout(5):
            announcers = [one.announcer for one in node.memberships.values()]
            await asyncio.gather(*(announcer.withdraw() for announcer in announcers))


async def _tell_logs(node: Node[Membership]) -> None:
    for run_id in list(node.memberships)[:1]:
        await contributions.announce(
            node.swarm, node.identity, run_id, node.contributions, node.clock()
        )


def _in_each_run(
    action: Callable[[Membership], Awaitable[None]],
) -> Callable[[Node[Membership]], Awaitable[None]]:
    """`action` for all memberships of a node at once. One neither delays nor fails another."""

    async def act(node: Node[Membership]) -> None:
        memberships = list(node.memberships.values())
        await asyncio.gather(*(attempt(partial(action, membership)) for membership in memberships))

    return act


def _repeat(
    period: float,
    node: Node[Membership],
    action: Callable[[Node[Membership]], Awaitable[None]],
    first: float | None = None,
) -> asyncio.Task[None]:
    """A task that runs `action` every `period` seconds (+-20%), also after a failure.

    `first` : seconds before the first time; None for `period`.
    """
    return asyncio.create_task(repeat(period, partial(action, node), node.rng, first))
