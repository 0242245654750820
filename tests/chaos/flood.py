"""A run that names its authors, flooded by strangers who then leave."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.records.codec import encode
from paris_p2p.records.head import Head
from paris_p2p.records.keys import heads_key
from paris_p2p.records.run import ROUTER
from paris_p2p.sampling.pictures import read_provenance
from peers.local_swarm import local_swarm
from tests.chaos.small_run import seed_small_run
from tests.network.hostile import Hostile

STRANGERS, AT_ONCE, HEADS_EACH = 60, 8, 6
SLOTS = (ROUTER, 0)


def flood_a_run_that_names_its_authors(folder: Path) -> None:
    """Strangers crowd the heads of a swarm of its own, and leave; a newcomer must still sample."""
    door = Home(folder / "door")
    door.create()
    author = Identity.generate()
    author.save(door.identity_file)
    run = seed_small_run(door, time.time(), clusters=1, trusted_authors=(author.author,))
    named = ("--run", run.hex())
    picture = folder / "heart.png"
    with local_swarm(folder) as swarm:
        swarm.start("door", (), *named)
        for slot in (("--router",), ("--expert", "0")):
            swarm.run("door", "claim-expert", *slot, "--steps", "2", "--threads", "1").finish()
        asyncio.run(_flood(folder, [swarm.address("door")], run))

        join = ("--bootstrap", swarm.address("door"), *named)
        sampling = ("fetch-and-sample", "red heart", "--steps", "2", "-o", str(picture))
        swarm.run("newcomer", *sampling, *join).finish()

    origin = read_provenance(picture)[0]
    assert origin["lost_mass"] == 0
    assert {head["author"] for head in origin["heads"].values()} == {author.peer_id}


async def _flood(folder: Path, victims: Sequence[str], run: bytes) -> None:
    """Heads of many authors on every slot, each record under a key of its own."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with room, Hostile(folder) as hostile:
            for address in victims:
                victim = await hostile.dial(address)
                for slot in SLOTS:
                    heads = [_invented(run, slot) for _ in range(HEADS_EACH)]
                    key = heads_key(run, slot)
                    record = hostile.announce(key, encode(heads), time.time() + 600)
                    assert await hostile.store(victim, record) == [True]

    await asyncio.gather(*(one() for _ in range(STRANGERS)))


def _invented(run: bytes, slot: int) -> bytes:
    """A head of an author who is never heard of again."""
    author = Identity.generate()
    return Head(
        run=run,
        expert=slot,
        author=author.author,
        step=10**6,
        images=8 * 10**6,
        manifest=secrets.token_bytes(32),
        size=100_000,
        train_loss=0.01,
        held_out_loss=0.01,
        parent=None,
        created=time.time(),
    ).seal(author)
