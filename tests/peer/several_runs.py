"""Runs beside the made-up one of `worlds`, and nodes that take part in several."""

from __future__ import annotations

from dataclasses import replace

from paris_p2p.identity import Identity
from paris_p2p.peer.membership import Membership
from paris_p2p.records.run import RunManifest
from tests.peer.worlds import CREATOR, PeerWorld, make_run


def another_run(name: str, *members: Identity) -> bytes:
    """A sealed run with the contents of the made-up one, under another name."""
    run = RunManifest.unseal(make_run())
    authors = tuple(member.author for member in members)
    return replace(run, name=name, members=authors).seal(CREATOR)


def run_of(name: str, shard: int) -> bytes:
    """A sealed run of a single cluster: that of one shard of the made-up run."""
    run = RunManifest.unseal(make_run())
    return replace(run, name=name, clusters=1, shards=(run.shards[shard],)).seal(CREATOR)


async def in_both(world: PeerWorld, other: bytes) -> tuple[Membership, Membership]:
    """One more node, in the run of the world and in the other."""
    first = await world.join()
    return first, await world.take_part(first.node, other)
