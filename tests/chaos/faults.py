"""What is done to the swarm. A fault returns once it has struck; `Arena.restore` ends it."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from paris_p2p.records.claim import LEASE
from peers.local_swarm import COMMAND, wait_until
from tests.chaos import strangers
from tests.chaos.arena import DOOR, FILLER, PATIENCE, Arena
from tests.chaos.enemy import Enemy

TRAINER = "paris_p2p.training"
"""In the command line of a training process."""

Fault = Callable[[Arena, random.Random], None]


def kill_a_trainer(arena: Arena, rng: random.Random) -> None:
    """kill -9 of one trainer; its peer lives."""
    for child in arena.children(_a_holder(arena, rng), TRAINER):
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


def kill_trainers_as_they_begin(arena: Arena, rng: random.Random) -> None:
    """kill -9 of every trainer of one peer before its first step, as for want of memory."""
    name, killed = _a_holder(arena, rng), 0
    for child in arena.children(name, TRAINER):
        child.kill()
    deadline = time.monotonic() + PATIENCE
    while killed < 2 and time.monotonic() < deadline:
        for child in arena.children(name, TRAINER):
            child.kill()
            killed += 1
        time.sleep(0.02)


def visit_from_another_pid_namespace(arena: Arena, rng: random.Random) -> None:
    """A peer that shares the temporary folder and sees none of the others' processes."""
    home = arena.swarm.folder / "visitor"
    command = [*COMMAND, "status", "--home", str(home), "--json"]
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    subprocess.run([*apart, *command], capture_output=True, check=False, timeout=120)


def publish_heads_without_room(arena: Arena, rng: random.Random) -> None:
    """Heads so far ahead that nobody could train on from them; a slot's trainer dies."""
    arena.set_upon(strangers.heads_without_room)
    arena.kill(_a_holder(arena, rng))


def publish_overflowing_weights(arena: Arena, rng: random.Random) -> None:
    """Heads whose weights overflow as soon as they are used; a slot's trainer dies."""
    arena.set_upon(strangers.overflowing_weights)
    arena.kill(_a_holder(arena, rng))


def publish_poisoned_resume_states(arena: Arena, rng: random.Random) -> None:
    """Resume states with an average that is too large; a slot's trainer dies."""
    arena.set_upon(strangers.poisoned_resume_states)
    arena.kill(_a_holder(arena, rng))


def invent_heads(arena: Arena, rng: random.Random) -> None:
    """A dozen heads a slot of content that nobody has; a slot's trainer dies."""
    arena.set_upon(strangers.invented_heads)
    arena.kill(_a_holder(arena, rng))


def claim_24_gib(arena: Arena, rng: random.Random) -> None:
    """Resume states that claim more than any home has room for."""
    arena.set_upon(strangers.resume_states_of_24_gib)


def dig_a_tar_pit(arena: Arena, rng: random.Random) -> None:
    """The furthest heads, served a chunk every few seconds; a slot's trainer dies."""
    arena.set_upon(strangers.tar_pit)
    arena.kill(_a_holder(arena, rng))


def drop_manifest_bombs(arena: Arena, rng: random.Random) -> None:
    """Heads whose manifest is a megabyte of empty maps."""
    arena.set_upon(strangers.manifest_bombs)


def invent_claims(arena: Arena, rng: random.Random) -> None:
    """Claims of impossible progress on every slot, renewed for as long as the attack lasts."""
    arena.set_upon(strangers.invented_claims)


def lie_about_the_time(arena: Arena, rng: random.Random) -> None:
    """Four identities on one address say it is an hour later; a peer starts again among them."""
    arena.set_upon(strangers.wrong_clocks)
    name = rng.choice(arena.volunteers)
    arena.kill(name)
    arena.start(name)


def use_up_files(arena: Arena, rng: random.Random) -> None:
    """Thousands of idle connections to the local APIs, and a p2pd that must be started again."""
    arena.set_upon(strangers.idle_connections(arena.api_ports()))
    kill_a_p2pd(arena, rng)


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
    kill_trainers_as_they_begin,
    visit_from_another_pid_namespace,
    publish_heads_without_room,
    publish_overflowing_weights,
    publish_poisoned_resume_states,
    invent_heads,
    claim_24_gib,
    dig_a_tar_pit,
    drop_manifest_bombs,
    invent_claims,
    lie_about_the_time,
    use_up_files,
)


def _a_holder(arena: Arena, rng: random.Random) -> str:
    return rng.choice(sorted(set(arena.holders().values()) - {DOOR}))
