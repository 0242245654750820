"""Joining a run by its id, and leaving it again."""

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
"""Seconds without a byte of the run's manifest after which joining fails."""


async def join(node: Node[Membership], run_id: bytes) -> Membership:
    """Join a run. Nothing is announced yet.

    Raises ClockSkew when this clock shows a time before the run was made, NotAvailable when no peer
    serves its manifest or when this node is not among its listed members, and BadContent when the
    content is not a run.
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
    """Join a run now and at every start. Errors as for `join`, and UsageProblem."""
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
    """Leave a run, and withdraw the records announced in it.

    UsageProblem while this node trains in it.
    """
    if membership.training:
        raise UsageProblem(
            f"this peer trains in the run {membership.run.name}", "stop training, then leave"
        )
    membership.node.memberships.pop(membership.run_id, None)
    membership.node.left_runs.forget(membership.run_id)
    await membership.announcer.withdraw()


async def leave_for_good(membership: Membership) -> None:
    """Leave a run for good, and delete the content that only this run needed.

    The newest work of this author and the private snapshots stay, so that a later join continues
    from them. UsageProblem as for `leave`, and for the only run.
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
    """Raises ClockSkew if the clock is behind the time that the run's author signed.

    No other time stops a peer from joining, because every other time is a stranger's claim.
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
