"""The peers of a simulation: honest peers, with accidents, and Sybils."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import cast

from paris_p2p.identity import Identity
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.books.survey import READ_AT_ONCE, read_claims
from paris_p2p.peer.training.claiming import Claimant
from paris_p2p.peer.training.lease import Judge, Lease, LeaseLost
from paris_p2p.records.claim import GRACE, LEASE, Claim, Evidence, SlotState, claim_winner
from paris_p2p.records.device_fit import Device
from paris_p2p.records.keys import claims_key
from simulator.network import ClaimSwarm
from simulator.world import PUBLISH_EVERY, RUN_ID, World

PACE, PACE_SPREAD = 1.0, 1.0
"""Median seconds of a step, and the sigma of its lognormal: one in twenty takes over 5 s."""

FETCH, FETCH_SPREAD = 30.0, 0.7
"""Median seconds between a lease and its first step, and the sigma: one in a hundred over 150 s."""

TELL = 10.0
"""Seconds between two reports of a worker; a longer step is reported when it is made."""

SKEW = 2.0
"""Seconds by which a clock may be off, in either direction."""

GRIND = 64
"""Tickets that a Sybil tries before it claims."""

SYBIL_RENEW = LEASE - 10.0
"""Seconds between two renewals of a Sybil: it saves effort."""


class Trainer:
    """An honest peer: it waits for a slot, trains it, and returns to it after a crash."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._skew = rng.uniform(-SKEW, SKEW)
        self._pace = PACE * rng.lognormvariate(0.0, PACE_SPREAD)
        self._trained: list[int] = []
        self._life: asyncio.Task[None] | None = None
        self._works_at: int | None = None
        self._stalled = False
        self.identity = Identity(rng.randbytes(32))

    @property
    def training(self) -> int | None:
        """The slot that it trains, or is about to train."""
        return self._works_at

    def start(self) -> None:
        self._swarm = ClaimSwarm(self._world.network, self.identity.author, self._skew)
        self._life = asyncio.create_task(self._live())
        self._world.network.alive += 1

    def crash(self) -> None:
        """Crash as by kill -9: nothing is released or withdrawn."""
        if self._life is not None:
            self._swarm.fail()
            self._life.cancel()
            self._life = None
            self._rest()
            self._world.network.alive -= 1

    def stall(self) -> None:
        """The worker hangs, but the peer goes on renewing."""
        self._stalled = True
        self._rest()

    def check(self) -> None:
        """Raise the error that ended the peer's task, if any."""
        if self._life is not None and self._life.done():
            self._life.result()

    async def _live(self) -> None:
        world, swarm = self._world, self._swarm
        claimant = Claimant(
            cast("Swarm", swarm),  # the simulated part of it
            self.identity,
            world.run,
            RUN_ID,
            self._survey,
            swarm.clock,
            self._rng,
            Device(memory=2**40, speed=PACE / self._pace),
            Judge(evidence=self._evidence),
            familiar=self._trained[-1:],
        )
        while True:
            lease = await claimant.acquire(wait=True)
            await self._train(lease)

    async def _survey(self, slots: Collection[int]) -> Sequence[SlotState]:
        """Like `read_winners`, but without a task per slot, which would take most of the time."""
        wanted, states = list(slots), list[SlotState]()
        for start in range(0, len(wanted), READ_AT_ONCE):
            some = wanted[start : start + READ_AT_ONCE]
            found = await self._swarm.look([claims_key(RUN_ID, slot) for slot in some])
            for slot in some:
                claims = await read_claims(cast("Swarm", found), RUN_ID, slot)
                evidence = self._world.evidence(slot)
                winner = claim_winner(claims, self._swarm.clock(), evidence)
                states.append(SlotState(slot, winner, self._world.heads.get(slot), evidence))
        return states

    async def _evidence(self, claim: Claim) -> Evidence:
        return self._world.evidence(claim.expert)

    async def _train(self, lease: Lease) -> None:
        """Work until the lease is lost; then release it, as a TrainingJob does."""
        self._trained.append(lease.expert)
        self._works_at, self._stalled = lease.expert, False
        self._world.ledger.begin(lease.expert)
        working = asyncio.create_task(self._work(lease))
        try:
            await lease.keep()
        except LeaseLost:
            self._rest()
            await lease.release()
        finally:
            working.cancel()

    async def _work(self, lease: Lease) -> None:
        await asyncio.sleep(FETCH * self._rng.lognormvariate(0.0, FETCH_SPREAD))
        step = self._world.step(lease.expert)
        lease.begin(step)
        while not self._stalled:
            made = max(1, round(TELL / self._pace))
            await asyncio.sleep(made * self._pace)
            if not self._stalled:
                step += made
                lease.advance(step)
                self._world.publish(
                    lease.expert, self.identity.author, step // PUBLISH_EVERY * PUBLISH_EVERY
                )

    def _rest(self) -> None:
        if self._works_at is not None:
            self._world.ledger.end(self._works_at)
            self._works_at = None


class Sybil:
    """Holds slots with ground tickets and no steps, and changes its key before the grace ends."""

    def __init__(self, world: World, rng: random.Random, slots: Sequence[int]) -> None:
        self._world = world
        self._rng = rng
        self._slots = slots

    async def live(self) -> None:
        """Claim the slots, one after the other, for ever."""
        while True:
            await self._claim_as(Identity(self._rng.randbytes(32)))

    async def _claim_as(self, identity: Identity) -> None:
        """Claim each slot and renew the claim until it is about to lapse without steps."""
        swarm = ClaimSwarm(self._world.network, identity.author)
        begun = swarm.clock()
        claims = [self._ground(identity, slot, begun) for slot in self._slots]
        while swarm.clock() - begun < GRACE - SYBIL_RENEW:
            for claim in claims:
                expires = swarm.clock() + LEASE
                sealed = replace(claim, expires=expires).seal(identity)
                await swarm.store(claims_key(RUN_ID, claim.expert), sealed, expires)
            await asyncio.sleep(SYBIL_RENEW * self._rng.uniform(0.8, 1.0))

    def _ground(self, identity: Identity, slot: int, now: float) -> Claim:
        """The claim with the best ticket of GRIND terms."""
        terms = range(int(now * 1000), int(now * 1000) + GRIND)
        claims = (self._claim(identity, slot, now, term) for term in terms)
        return min(claims, key=lambda claim: claim.ticket)

    def _claim(self, identity: Identity, slot: int, now: float, term: int) -> Claim:
        return Claim(
            run=RUN_ID,
            expert=slot,
            author=identity.author,
            term=term,
            since=now,
            start_step=0,
            step=0,
            progressed=now,
            expires=now + LEASE,
        )
