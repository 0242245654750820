"""Taking part in a run, from its id to a membership, and leaving it again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from paris_p2p.errors import ClockSkew, ParisError, UsageProblem
from paris_p2p.network.allowlist import listed_only
from paris_p2p.peer.books.admission import admission, end_of_time
from paris_p2p.peer.books.announcing import Announcer
from paris_p2p.peer.books.authorisation import Authorisation
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.record_book import RecordBook
from paris_p2p.peer.doctor.alarms import MAX_SKEW
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.run_choice import read_joined, remember_joined
from paris_p2p.peer.transfer.chunk_sources import Seed
from paris_p2p.peer.upkeep.garbage_collection import free_left
from paris_p2p.records.presence import PEER, SEED
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest

RUN_PATIENCE = 10.0
"""Seconds without a word from anybody who has the run's manifest."""


async def join(node: Node[Membership], run_id: bytes) -> Membership:
    """Take part in a run; nothing is announced yet.

    Raises ClockSkew when this clock shows a time before the run was made, NotAvailable when nobody
    has its manifest or it lists its members and this node is none, BadContent for what is no run.
    """
    async with node.joining:
        if run_id in node.memberships:
            return node.memberships[run_id]
        if node.shipped is not None and node.shipped.id == run_id:
            await asyncio.to_thread(node.blobs.chunks.put, node.shipped.sealed)
        sealed = await node.fetcher.fetch_chunk(run_id, RUN_PATIENCE)
        run = RunManifest.unseal(sealed, expect_id=run_id)
        authorisation = Authorisation(run)
        authorisation.expect_member(node.identity.author)
        check_clock(node.clock(), run.created)
        membership = await asyncio.to_thread(_membership, node, run, run_id, authorisation)
        node.memberships[run_id] = membership
        return membership


async def join_for_good(node: Node[Membership], run_id: bytes) -> Membership:
    """Take part in a run now and after every start; errors as for `join`, and UsageProblem."""
    is_new = run_id not in node.memberships
    membership = await join(node, run_id)
    try:
        await _remember(node, lambda runs: list(dict.fromkeys([*runs, run_id])))
    except ParisError:
        if is_new:
            await leave(membership)
        raise
    await membership.announcer.everything()
    return membership


async def leave(membership: Membership) -> None:
    """Take part in a run no longer, and take back what was said of it.

    UsageProblem while this node trains in it.
    """
    if membership.training:
        raise UsageProblem(
            f"this peer trains in the run {membership.run.name}", "stop that, then leave"
        )
    membership.node.memberships.pop(membership.run_id, None)
    membership.node.left_runs.forget(membership.run_id)
    await membership.announcer.withdraw()


async def leave_for_good(membership: Membership) -> None:
    """Leave a run, after every start too, and let go at once what only it needed.

    Not what this author published last in it, nor private snapshots: whoever joins again goes on.
    UsageProblem as for `leave`, and for the only run.
    """
    node = membership.node
    if len(node.memberships) == 1:
        raise UsageProblem("a peer takes part in one run at least", "Join another one, then leave")
    await leave(membership)
    await _remember(node, lambda runs: [one for one in runs if one != membership.run_id])
    await free_left(node, membership.run_id)


async def _remember(node: Node[Membership], change: Callable[[list[bytes]], list[bytes]]) -> None:
    async with node.joining:
        runs = change(read_joined(node.home, node.shipped))
        await asyncio.to_thread(remember_joined, node.home, runs, node.swarm_fingerprint)


def check_clock(now: float, run_created: float) -> None:
    """Raises ClockSkew for a clock that is behind what the run's author signed.

    Nothing else keeps a peer from taking part for its clock: all else is strangers' word.
    """
    if now < run_created - MAX_SKEW:
        shown, made = (
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)) for at in (now, run_created)
        )
        raise ClockSkew(
            f"this machine's clock shows {shown}, before the run was made ({made})",
            "set the clock (timedatectl set-ntp true), then start again",
        )


def _membership(
    node: Node[Membership], run: RunManifest, run_id: bytes, authorisation: Authorisation
) -> Membership:
    own, folder = node.identity.author, node.home.runs_dir / run_id.hex()
    swarm = listed_only(node.swarm, authorisation.lists) if run.members else node.swarm
    counts = admission(run, run_id, own, authorisation, node.refusals, node.clock)
    lasts = admission(run, run_id, own, authorisation, node.refusals, end_of_time)
    heads = HeadBook(folder / "heads", run_id, run.slots(), counts, own, lasts)
    resumes = RecordBook(Resume, folder / "resumes", run_id, run.slots(), counts, own, lasts)
    announcer = Announcer(
        swarm,
        node.identity,
        node.blobs,
        node.provider_records,
        heads,
        resumes,
        run,
        run_id,
        node.clock,
        SEED if node.config.seed_only else PEER,
        node.rng,
    )
    seeds = tuple(map(Seed, run.http_seeds))
    return Membership(
        node=node,
        run=run,
        run_id=run_id,
        authorisation=authorisation,
        swarm=swarm,
        heads=heads,
        resumes=resumes,
        fetcher=node.fetcher.seen_through(swarm, seeds),
        announcer=announcer,
    )
