"""One simulation: peers, experts, what goes wrong, and the outcome."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from simulator.clock import run_virtually
from simulator.ledger import Ledger
from simulator.network import Network
from simulator.peers import Sybil, Trainer
from simulator.world import World, make_run

ARRIVAL = 10.0
"""Seconds within which all peers arrive."""

CHURN_FROM, CHURN_EVERY, CALM_END = 120.0, 30.0, 130.0
"""Seconds until holders begin to crash, between two rounds, and without crashes at the end."""

CHURN_SHARE = 16
"""One in this many holders crashes in a round, and at least one."""

RETURN = (30.0, 180.0)
"""Seconds after which a crashed peer returns; half of them do."""

GRASPING = 8
"""Number of Sybils that claim every slot; each of the others claims one."""


@dataclass(frozen=True)
class Scenario:
    """What goes wrong. Times are seconds since the beginning; shares are of all peers."""

    name: str
    lasts: float = 450.0
    loss: float = 0.0
    """Share of lost requests between two peers."""
    parted: tuple[float, float] | None = None
    """Start and end of the time in which the two halves of the peers do not hear each other."""
    sybils: float = 0.0
    stalls: bool = False
    """Whether workers hang as often as peers crash."""
    mass_crash: float | None = None
    """Time at which half of all peers crash at once."""


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("calm"),
        Scenario("loss", loss=0.2),
        Scenario("partition", lasts=700.0, parted=(200.0, 500.0)),
        Scenario("sybils", lasts=1200.0, sybils=0.05, stalls=True),
        Scenario("crash", mass_crash=240.0),
    )
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one simulation. Times in seconds."""

    scenario: str
    peers: int
    clusters: int
    seed: int
    lasts: float
    """Simulated time from beginning to end."""
    all_held: float | None
    """Time until every expert had been held by an honest peer; None if one never was."""
    first_held: tuple[float, ...]
    """The same time for each expert."""
    taken_over: tuple[float, ...]
    """Time from each loss of an only holder to the next holder's lease."""
    orphans: tuple[float, ...]
    """How long each expert without a holder at the end has been without one."""
    duplicated: float
    """Expert-seconds of duplicated work, as a share of the work done."""
    duplicates: tuple[float, ...]
    """Duration of each period of duplicated work."""
    leases: int
    reads: float
    """Lookups per peer and minute."""
    took: float
    """Seconds of processor time."""


def simulate(scenario: Scenario, peers: int, clusters: int, seed: int) -> Outcome:
    """Run one scenario from beginning to end."""
    begun = time.process_time()
    world = run_virtually(_play(scenario, peers, clusters, seed))
    ledger = world.ledger
    return Outcome(
        scenario=scenario.name,
        peers=peers,
        clusters=clusters,
        seed=seed,
        lasts=scenario.lasts,
        all_held=ledger.all_held,
        first_held=tuple(sorted(ledger.first_held.values())),
        taken_over=tuple(sorted(ledger.taken_over)),
        orphans=tuple(sorted(ledger.orphans)),
        duplicated=ledger.wasted / max(1.0, ledger.useful),
        duplicates=tuple(sorted(lasted for _, lasted in ledger.duplicates)),
        leases=ledger.leases,
        reads=world.network.requests["lookups"] / peers / (scenario.lasts / 60),
        took=time.process_time() - begun,
    )


async def _play(scenario: Scenario, peers: int, clusters: int, seed: int) -> World:
    rng = random.Random(f"{scenario.name} {peers} {clusters} {seed}")
    loop = asyncio.get_running_loop()
    world = World(
        run=make_run(clusters, rng),
        network=Network(rng, scenario.loss),
        ledger=Ledger(clusters, loop.time),
        rng=rng,
    )
    bad = round(peers * scenario.sybils)
    trainers = [Trainer(world, random.Random(rng.random())) for _ in range(peers - bad)]
    events = [
        *(_arrive(world, trainer) for trainer in trainers),
        *(_arrive_bad(world, number) for number in range(bad)),
        _churn(scenario, world, trainers),
        _weather(scenario, world, trainers),
    ]
    tasks = [asyncio.create_task(event) for event in events]
    await asyncio.sleep(scenario.lasts)
    for task in tasks:
        if task.done():
            task.result()
    for trainer in trainers:
        trainer.check()
    world.ledger.close()
    return world


async def _arrive(world: World, trainer: Trainer) -> None:
    await asyncio.sleep(world.rng.uniform(0, ARRIVAL))
    trainer.start()


async def _arrive_bad(world: World, number: int) -> None:
    every = range(world.run.clusters)
    slots = every if number < GRASPING else [number % world.run.clusters]
    rng = random.Random(world.rng.random())
    await asyncio.sleep(world.rng.uniform(0, ARRIVAL))
    await Sybil(world, rng, slots).live()


async def _churn(scenario: Scenario, world: World, trainers: list[Trainer]) -> None:
    """In each round, crash a few training peers; in scenarios with stallers, hang some workers."""
    await asyncio.sleep(CHURN_FROM)
    returning, loop = [], asyncio.get_running_loop()
    while loop.time() < scenario.lasts - CALM_END:
        holders = [trainer for trainer in trainers if trainer.training is not None]
        unlucky = world.rng.sample(holders, min(len(holders), max(1, len(holders) // CHURN_SHARE)))
        for number, trainer in enumerate(unlucky):
            if scenario.stalls and number % 2:
                trainer.stall()
            else:
                trainer.crash()
                if world.rng.random() < 0.5:
                    returning.append(asyncio.create_task(_return(world, trainer)))
        await asyncio.sleep(CHURN_EVERY)


async def _return(world: World, trainer: Trainer) -> None:
    await asyncio.sleep(world.rng.uniform(*RETURN))
    trainer.start()


async def _weather(scenario: Scenario, world: World, trainers: list[Trainer]) -> None:
    if scenario.parted is not None:
        begins, ends = scenario.parted
        await asyncio.sleep(begins)
        world.network.part([trainer.identity.author for trainer in trainers[::2]])
        await asyncio.sleep(ends - begins)
        world.network.heal()
    if scenario.mass_crash is not None:
        await asyncio.sleep(scenario.mass_crash)
        for trainer in trainers[::2]:
            trainer.crash()
        world.network.lose_holders(0.5)
