"""Measurements that a running peer makes of itself for a checkup. `peer_checks` judges them.

Every probe is bounded in time and cannot fail: a missing measurement is a finding, too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from contextlib import suppress

from paris_p2p.errors import ParisError
from paris_p2p.identity import PeerId
from paris_p2p.network.reach.dial_back import DialBackAnswer
from paris_p2p.network.reach.reachability_types import Reachability, ReachState
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.doctor import peer_checks
from paris_p2p.peer.doctor.alarms import MAX_SKEW
from paris_p2p.peer.doctor.dial_back_check import ask_to_dial_back, own_transports
from paris_p2p.peer.doctor.peer_checks import Row
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.records.device_fit import least_memory
from paris_p2p.records.run import RunManifest
from paris_p2p.store.chunks import ChunkStore, MissingChunk

PATIENCE = 20.0
"""Most seconds for one probe."""

SETTLING = 10.0
"""Most seconds to wait for others' answers about our reachability."""

RETRIES = (1.0, 3.0, 0.0)
"""Seconds after each round of unanswered questions."""

LOOK_AGAIN = 0.2
"""Seconds between two looks at our reachability."""

CHUNKS_CHECKED = 64
"""Chunks of the store hashed again: enough to notice a bad disk, not to prove a good one."""


async def peer_checkup(node: Node[Membership], checked: Sequence[Membership]) -> list[Row]:
    """Rows for a running node: its swarm, its store, and the runs to be `checked`."""
    rows = await swarm_checkup(node.swarm, node.memberships.keys(), node.rng)
    runs = await asyncio.gather(*map(_run_row, checked))
    store = await asyncio.to_thread(_check_store, node.blobs.chunks, node.rng)
    return [*runs, *rows, peer_checks.store_row(*store)]


async def _run_row(membership: Membership) -> Row:
    run = membership.run
    with suppress(ParisError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await membership.survey()
    known = sum(bool(membership.heads.of(slot)) for slot in run.slots())
    return peer_checks.run_row(run.name, membership.run_id, known, len(run.slots()))


async def swarm_checkup(swarm: Swarm, runs: Collection[bytes], rng: random.Random) -> list[Row]:
    """Rows for any node of the swarm: its peers, reachability, clock and identity.

    Reachability comes first: once it is known, p2pd may restart in another mode.
    """
    reach = await _settled(swarm)
    answers = await _heard(swarm, runs, rng)
    skew = await _skew(swarm)
    announced = own_transports(swarm.addresses())
    return [
        peer_checks.peers_row(swarm.peers()),
        *peer_checks.reachability_rows(reach),
        *peer_checks.dialback_rows(announced, answers, bool(reach.relays)),
        peer_checks.clock_row(skew, MAX_SKEW),
        *peer_checks.identity_rows(swarm.doubled()),
    ]


async def _heard(
    swarm: Swarm, runs: Collection[bytes], rng: random.Random
) -> dict[PeerId, DialBackAnswer | str]:
    """The dial-back answers. Asks again while no asked peer answers."""
    for pause in RETRIES:
        answers = await ask_to_dial_back(swarm, runs, rng)
        if not answers or any(isinstance(answer, DialBackAnswer) for answer in answers.values()):
            break
        await asyncio.sleep(pause)
    return answers


async def _settled(swarm: Swarm) -> Reachability:
    """How others reach us. A peer that knows others gets SETTLING seconds to find out."""
    for _ in range(round(SETTLING / LOOK_AGAIN)):
        known = swarm.reachability().state is not ReachState.UNKNOWN
        if (known and swarm.online()) or not swarm.known_addresses():
            break
        await asyncio.sleep(LOOK_AGAIN)
    return swarm.reachability()


def training_need(run: RunManifest) -> int:
    """The least bytes of memory that training any expert of the run needs."""
    return min(least_memory(run, slot) for slot in range(run.clusters))


async def _skew(swarm: Swarm) -> float | None:
    """Our clock minus the others', in seconds. Asks again while no known peer answers."""
    for pause in RETRIES:
        with suppress(ParisError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                skew = await swarm.clock_skew()
            if skew is not None or not swarm.known_addresses():
                return skew
        await asyncio.sleep(pause)
    return None


def _check_store(chunks: ChunkStore, rng: random.Random) -> tuple[int, int, int]:
    """Hash some chunks again. Returns how many were hashed, damaged, and are in the store."""
    held = sorted(chunks.ids())
    chosen = rng.sample(held, min(CHUNKS_CHECKED, len(held)))
    damaged = 0
    for chunk in chosen:
        try:
            chunks.get(chunk)
        except MissingChunk:
            damaged += 1
    return len(chosen), damaged, len(held)
