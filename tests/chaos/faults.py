"""What is done to the swarm. A fault returns once it has struck; `Arena.restore` ends it."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from paris_p2p.records.claim import LEASE
from peers.local_swarm import wait_until
from tests.chaos.arena import DOOR, FILLER, PATIENCE, Arena
from tests.chaos.enemy import Enemy

Fault = Callable[[Arena, random.Random], None]


def kill_a_trainer(arena: Arena, rng: random.Random) -> None:
    """kill -9 of one trainer; its peer lives."""
    for child in arena.children(_a_holder(arena, rng), "paris_p2p.training"):
        child.kill()


def kill_a_p2pd(arena: Arena, rng: random.Random) -> None:
    """kill -9 of one peer's p2pd; the peer lives."""
    for child in arena.children(rng.choice(arena.volunteers), "p2pd"):
        child.kill()


def hang_a_p2pd(arena: Arena, rng: random.Random) -> None:
    """SIGSTOP of one peer's p2pd: it hangs and does not exit."""
    name = rng.choice(arena.volunteers)
    stuck = arena.children(name, "p2pd")
    for child in stuck:
        child.send_signal(signal.SIGSTOP)
    wait_until(lambda: not any(c.is_running() for c in stuck), "the peer to notice", PATIENCE)


def kill_a_holder(arena: Arena, rng: random.Random) -> None:
    """kill -9 of a peer that trains, with everything that belongs to it."""
    arena.kill(_a_holder(arena, rng))


def kill_half(arena: Arena, rng: random.Random) -> None:
    """kill -9 of half the swarm at once."""
    arena.kill(*rng.sample(arena.volunteers, len(arena.volunteers) // 2))


def kill_the_door(arena: Arena, rng: random.Random) -> None:
    """kill -9 of the only bootstrap; newcomers join through anybody else."""
    arena.kill(DOOR)


def freeze_a_holder(arena: Arena, rng: random.Random) -> None:
    """SIGSTOP of a peer that trains, its trainer and its p2pd, for longer than a lease."""
    arena.freeze(_a_holder(arena, rng))


def part_the_swarm(arena: Arena, rng: random.Random) -> None:
    """Two halves that cannot hear each other for longer than a lease, then heal."""
    half = set(rng.sample(arena.volunteers, len(arena.volunteers) // 2))
    arena.part(half, {DOOR, *arena.volunteers} - half)
    time.sleep(1.25 * LEASE)
    arena.gates.heal()


def corrupt_a_store(arena: Arena, rng: random.Random) -> None:
    """Some of the files in one peer's store are overwritten in the middle."""
    store = arena.swarm.home(rng.choice(arena.volunteers)) / "store"
    chunks = sorted(path for path in store.glob("??/*") if path.stat().st_size > 64)
    for path in rng.sample(chunks, max(1, len(chunks) // 4)):
        with path.open("r+b") as file:
            file.seek(32)
            file.write(rng.randbytes(16))


def fill_a_disk(arena: Arena, rng: random.Random) -> None:
    """One peer's disk fills up to the last byte while it may be training."""
    if arena.small_disk is None:
        return
    filler = arena.swarm.home(arena.small_disk) / FILLER
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass


def send_crash_packets(arena: Arena, rng: random.Random) -> None:
    """Nested msgpack extensions, which segfault a stock node, sent to every peer."""
    arena.set_upon(Enemy.crash_packets)


def flood_records(arena: Arena, rng: random.Random) -> None:
    """Thousands of records and finds from many made-up authors."""
    arena.set_upon(Enemy.flood)


def forge_and_replay(arena: Arena, rng: random.Random) -> None:
    """Heads signed by nobody, another author's records, and old records sent again."""
    arena.set_upon(Enemy.forge)


def serve_wrong_bytes(arena: Arena, rng: random.Random) -> None:
    """A provider of every head that answers each request with other bytes."""
    arena.set_upon(Enemy.lie)


def freeze_as_provider(arena: Arena, rng: random.Random) -> None:
    """A provider of every head that takes requests and never answers."""
    arena.set_upon(Enemy.stall)


FAULTS: tuple[Fault, ...] = (
    kill_a_trainer,
    kill_a_p2pd,
    hang_a_p2pd,
    kill_a_holder,
    freeze_a_holder,
    kill_half,
    kill_the_door,
    part_the_swarm,
    corrupt_a_store,
    fill_a_disk,
    send_crash_packets,
    flood_records,
    forge_and_replay,
    serve_wrong_bytes,
    freeze_as_provider,
)


def _a_holder(arena: Arena, rng: random.Random) -> str:
    return rng.choice(sorted(set(arena.holders().values()) - {DOOR}))
