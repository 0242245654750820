"""A peer's life: from a started swarm to the withdrawal of what it said."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from paris_p2p.config import PeerConfig
from paris_p2p.errors import BadContent, ClockSkew, ParisError
from paris_p2p.files import sweep_partial_files
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.allowlist import listed_only
from paris_p2p.network.pacing import Pacer, Pacers
from paris_p2p.network.periodic import repeat
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer import peer_exchange
from paris_p2p.peer.books import announcing, contributions
from paris_p2p.peer.books.admission import admission, end_of_time
from paris_p2p.peer.books.announcing import Announcer
from paris_p2p.peer.books.authorisation import Authorisation
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.record_book import RecordBook
from paris_p2p.peer.books.refusals import Refusals
from paris_p2p.peer.doctor import alarms
from paris_p2p.peer.doctor.alarms import MAX_SKEW
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.shipped_run import ShippedRun, seed_shipped_run
from paris_p2p.peer.transfer.chunk_sources import Seed
from paris_p2p.peer.transfer.fetching import Fetcher
from paris_p2p.peer.upkeep import garbage_collection, replication, scrubbing
from paris_p2p.records.presence import PEER, SEED
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore

log = logging.getLogger(__name__)

RUN_PATIENCE = 10.0
"""Seconds without a word from anybody who has the run's manifest."""
AT_ONCE = 0.5
"""Seconds before what need not wait, nor be waited for, is done for the first time."""


@contextlib.asynccontextmanager
async def running_peer(
    home: Home,
    identity: Identity,
    swarm: Swarm,
    config: PeerConfig,
    shipped: ShippedRun | None,
    *,
    seed: bool,
    replicate: bool,
) -> AsyncIterator[Peer]:
    """A peer that serves, announces and replicates until the block is left.

    Parameters
    ----------
    swarm : a started swarm; closed by the caller.
    shipped : the shipped run, for the default run and for seeding; None when not shipped.
    seed : take the shipped run's content into the store first.
    replicate : copy content that has too few providers.

    Raises ClockSkew when this clock shows a time before the run was made, and what fetching the run
    raises.
    """
    sweep_partial_files(home.path)
    peer = await _settle(home, identity, swarm, config, shipped)
    if seed and shipped is not None and shipped.id == peer.run_id:
        await asyncio.to_thread(seed_shipped_run, shipped, peer.blobs, peer.heads)
    await peer.serve()
    await peer.announcer.everything()
    await _look_for_alarms(peer)
    chores = _chores(peer, replicate)
    try:
        yield peer
    finally:
        await end_tasks(*chores)
        await _withdraw(peer)


async def _settle(
    home: Home,
    identity: Identity,
    swarm: Swarm,
    config: PeerConfig,
    shipped: ShippedRun | None,
) -> Peer:
    """Find the run and put together its peer, which says and serves nothing yet."""
    blobs = Blobs(ChunkStore(home.store_dir), home.cache_dir)
    pacers = Pacers(Pacer(config.upload_limit or None), Pacer(config.download_limit or None))
    refusals = Refusals(home.refusals_file, time.time)
    finder = Fetcher(swarm, blobs, pacers=pacers, refusals=refusals)
    run_id, sealed = await _find_run(config, shipped, finder)
    run = RunManifest.unseal(sealed, expect_id=run_id)
    authorisation = Authorisation(run)
    authorisation.expect_member(identity.author)
    check_clock(time.time(), run.created)
    swarm = listed_only(swarm, authorisation.lists)
    fetcher = Fetcher(
        swarm,
        blobs,
        pacers=pacers,
        allow_private_seeds=config.allow_private_seeds,
        refusals=refusals,
    )
    fetcher.seeds = tuple(map(Seed, run.http_seeds))
    await asyncio.to_thread(blobs.chunks.put, sealed)
    folder = home.runs_dir / run_id.hex()
    own = identity.author
    counts = admission(run, run_id, own, authorisation, refusals)
    lasts = admission(run, run_id, own, authorisation, refusals, end_of_time)
    heads = HeadBook(folder / "heads", run_id, run.slots(), counts, own, lasts)
    resumes = RecordBook(Resume, folder / "resumes", run_id, run.slots(), counts, own, lasts)
    role = SEED if config.seed_only else PEER
    announcer = Announcer(swarm, identity, blobs, heads, resumes, run, run_id, time.time, role)
    return Peer(
        home,
        identity,
        swarm,
        blobs,
        heads,
        resumes,
        run,
        run_id,
        fetcher,
        announcer,
        config,
        refusals=refusals,
    )


def _chores(peer: Peer, replicate: bool) -> list[asyncio.Task[None]]:
    """What a peer does again and again while it lives."""
    chores = [
        _repeat(announcing.PERIOD, peer, lambda peer: peer.announcer.everything()),
        _repeat(garbage_collection.PERIOD, peer, garbage_collection.collect),
        _repeat(scrubbing.PERIOD, peer, scrubbing.Scrub()),
        _repeat(peer_exchange.PERIOD, peer, peer_exchange.meet_some),
        _repeat(alarms.PERIOD, peer, _look_for_alarms),
        _repeat(contributions.PERIOD, peer, _tell_logs, first=AT_ONCE),
    ]
    if replicate:
        chores.append(
            _repeat(replication.PERIOD, peer, replication.replicate, first=replication.FIRST)
        )
    return chores


async def _withdraw(peer: Peer) -> None:
    """Take back what this peer said, as far as that is quickly done."""
    with contextlib.suppress(TimeoutError, ParisError):
        async with asyncio.timeout(5):
            await peer.announcer.withdraw()


async def _find_run(
    config: PeerConfig, shipped: ShippedRun | None, fetcher: Fetcher
) -> tuple[bytes, bytes]:
    """The id and sealed manifest of the run to take part in: the configured or the shipped one."""
    if config.run:
        wanted = bytes.fromhex(config.run)
        if shipped is not None and shipped.id == wanted:
            return wanted, shipped.sealed
        return wanted, await fetcher.fetch_chunk(wanted, RUN_PATIENCE)
    if shipped is None:
        raise BadContent(
            "no run was named and this installation ships none", "name a run with --run ID"
        )
    return shipped.id, shipped.sealed


async def _tell_logs(peer: Peer) -> None:
    await contributions.announce(
        peer.swarm, peer.identity, peer.run_id, peer.contributions, peer.clock()
    )


async def _look_for_alarms(peer: Peer) -> None:
    await peer.alarms.look()


def check_clock(now: float, run_created: float) -> None:
    """Raises ClockSkew for a clock that is behind what the run's author signed.

    Nothing else keeps a peer from starting for its clock: all other evidence is strangers' word.
    """
    if now < run_created - MAX_SKEW:
        shown, made = (
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)) for at in (now, run_created)
        )
        raise ClockSkew(
            f"this machine's clock shows {shown}, before the run was made ({made})",
            "set the clock (timedatectl set-ntp true), then start again",
        )


def _repeat(
    period: float, peer: Peer, action: Callable[[Peer], Awaitable[None]], first: float | None = None
) -> asyncio.Task[None]:
    """A task that runs `action` every `period` seconds (+-20%); a failure waits for the next.

    `first` is the wait before the first time, when it is not the same.
    """
    return asyncio.create_task(repeat(period, partial(action, peer), peer.rng, first))
