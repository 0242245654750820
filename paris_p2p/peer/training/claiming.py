"""Choosing a slot and leasing it. `lease` keeps the lease.

A claim is a hint: two peers that train the same expert waste compute, but harm nothing. So the
protocol is short. A peer looks at a few slots and chooses one. It waits a random moment and looks
at the slot again, since a hundred peers may have chosen it. It announces its claim, waits SETTLE
seconds, reads the claims again, and steps back if another peer wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from paris_p2p.errors import Held, NotAvailable, ParisError, Unreachable
from paris_p2p.identity import Identity, peer_id_of
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.books.claim_evidence import evidence_for
from paris_p2p.peer.books.survey import read_claims
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.lease import Judge, Lease
from paris_p2p.peer.training.slot_search import SlotSearch
from paris_p2p.records.claim import (
    LEASE,
    SAMPLE,
    SETTLE,
    Claim,
    Evidence,
    SlotState,
    choose_expert,
    claim_winner,
    is_advancing,
)
from paris_p2p.records.device_fit import Device, check_fit, least_memory, liking
from paris_p2p.records.run import RunManifest, slot_name

log = logging.getLogger(__name__)

Clock = Callable[[], float]
Survey = Callable[[Collection[int]], Awaitable[Sequence[SlotState]]]
"""Returns the states of the given slots."""

HELD_REMEDY = "choose another with --expert, or none to let the swarm's need decide"

ALL_HELD_REMEDY = "wait for a lease to lapse, or train the router with --router"


class AllHeld(NotAvailable):
    """Every expert of the run is held by a peer."""


@dataclass
class Claimant:
    """A peer in search of a slot. Call `step_back` after an `acquire` that was interrupted."""

    swarm: Swarm
    identity: Identity
    run: RunManifest
    run_id: bytes
    survey: Survey
    clock: Clock
    rng: random.Random
    device: Device | None = None
    """The training device; None if unknown. Then any slot may be tried."""
    judge: Judge = field(default_factory=Judge)
    """Judges the claims of others."""
    familiar: Collection[int] = ()
    """Experts that this peer has trained before. It always looks at them: it may still hold one."""
    _unsettled: Lease | None = field(default=None, init=False)
    _evidence: dict[int, Evidence | None] = field(default_factory=dict, init=False)

    async def acquire(
        self, wanted: int | None = None, *, busy: Collection[int] = (), wait: bool = False
    ) -> Lease:
        """Lease `wanted`; None for the expert that needs this peer most.

        Parameters
        ----------
        busy : slots that this peer already trains.
        wait : look again, after growing waits, until a slot is free.

        Raises Held if the wanted slot is busy or held by another peer, or if no other peer stores
        the claim; AllHeld if every expert is held; NotAvailable if the run has no such slot, or the
        slot needs more memory than this device has.
        """
        search = SlotSearch(self._choices(wanted, busy), self.rng)
        while True:
            try:
                if wanted is not None:
                    return await self._take(wanted, search)
                return await self._take_any(search, widen=not wait)
            except (Held, AllHeld, Unreachable, TimeoutError) as error:
                if not wait:
                    raise
                pause = search.pause(self.clock(), self.swarm.peers())
                log.info("%s; looking again in %.0f s", error, pause)
                await asyncio.sleep(pause)

    async def step_back(self) -> None:
        """Withdraw a claim that was announced but has not become a lease, if there is one."""
        lease, self._unsettled = self._unsettled, None
        if lease is not None:
            with contextlib.suppress(ParisError, TimeoutError):
                await lease.release()

    def _choices(self, wanted: int | None, busy: Collection[int]) -> list[int]:
        """The slots to look at: they exist, fit this device, and are not trained here."""
        run = self.run
        if wanted is None:
            return self._all_choices(busy)
        if wanted not in run.slots():
            raise NotAvailable(
                f"the run has no {slot_name(wanted)}",
                f"it has experts 0 to {run.clusters - 1}, and the router",
            )
        if wanted in busy:
            raise Held(f"this peer is training {slot_name(wanted)} already", HELD_REMEDY)
        check_fit(run, wanted, self.device)
        return [wanted]

    def _all_choices(self, busy: Collection[int]) -> list[int]:
        run = self.run
        fitting = [slot for slot in range(run.clusters) if self._fits(slot)]
        if not fitting:
            smallest = min(range(run.clusters), key=lambda slot: least_memory(run, slot))
            check_fit(run, smallest, self.device)
        choices = [slot for slot in fitting if slot not in busy]
        if not choices:
            raise AllHeld("this peer is training every expert it can already", ALL_HELD_REMEDY)
        return choices

    def _fits(self, slot: int) -> bool:
        return self.device is None or least_memory(self.run, slot) <= self.device.memory

    async def _take(self, wanted: int, search: SlotSearch) -> Lease:
        """Lease the wanted slot if it is free, this author's, or without steps for too long."""
        states = await self._look([wanted], search)
        winner = states[0].winner
        contested = self._contested(states, search) is not None
        if winner is not None and winner.author != self.identity.author and not contested:
            raise Held(f"{slot_name(wanted)} is held by {peer_id_of(winner.author)}", HELD_REMEDY)
        return await self._settle(wanted, contested)

    async def _take_any(self, search: SlotSearch, *, widen: bool) -> Lease:
        """Lease one of a sample of the slots. With `widen`, the sample grows to all slots."""
        count = SAMPLE
        while True:
            slots = search.next_slots(self.clock(), self._familiar(search), count)
            lease = await self._take_one_of(await self._look(slots, search), search)
            if lease is not None:
                return lease
            if search.complete or not widen:
                raise AllHeld("every expert of the run is held by a peer", ALL_HELD_REMEDY)
            count *= 2

    async def _take_one_of(self, states: list[SlotState], search: SlotSearch) -> Lease | None:
        """Lease a slot, chosen by need, that no other peer gets first; None if there is none."""
        while (expert := self._choose(states)) is not None:
            with contextlib.suppress(Held):
                return await self._settle(expert)
            states = [state for state in states if state.expert != expert]
        contested = self._contested(states, search)
        if contested is not None:
            with contextlib.suppress(Held):
                return await self._settle(contested, contest=True)
        return None

    def _choose(self, states: Sequence[SlotState]) -> int | None:
        return choose_expert(
            states,
            self.identity.author,
            self.clock(),
            self.rng,
            lambda expert: liking(self.run, expert, self.device),
        )

    def _contested(self, states: Sequence[SlotState], search: SlotSearch) -> int | None:
        return search.contested(states, self.clock(), self.swarm.peers())

    async def _look(self, slots: Collection[int], search: SlotSearch) -> list[SlotState]:
        states = list(await self.survey(slots))
        search.note(states, self.clock())
        self._evidence |= {state.expert: state.evidence for state in states}
        return states

    async def _settle(self, expert: int, contest: bool = False) -> Lease:
        """Look again, announce a claim, wait, read again. Raises Held if another peer is first.

        A peer that contests a slot yields only to a lease that advances.
        """
        first = Held(f"{slot_name(expert)} was claimed by another peer just now", HELD_REMEDY)
        await asyncio.sleep(self.rng.uniform(0, SETTLE))
        trusted = self.judge.trusted()
        found = await read_claims(self.swarm, self.run_id, expert, trusted)
        if self._is_taken(expert, found, contest):
            raise first
        lease = self._unsettled = self._new_lease(expert, contest, self._own_among(found))
        if not await lease.renew():
            await self.step_back()
            raise Held(f"no other peer stored the claim on {slot_name(expert)}", "try again soon")
        await asyncio.sleep(SETTLE)
        if await lease.rival() is not None:
            await self.step_back()
            raise first
        self._unsettled = None
        return lease

    def _is_taken(self, expert: int, found: Sequence[Claim], contest: bool) -> bool:
        others = [claim for claim in found if claim.author != self.identity.author]
        now = self.clock()
        winner = claim_winner(others, now, self._evidence.get(expert))
        return winner is not None and (is_advancing(winner, now) or not contest)

    def _own_among(self, found: Sequence[Claim]) -> Claim | None:
        """The claim of an earlier session of this peer, or of another peer with its key."""
        return next((claim for claim in found if claim.author == self.identity.author), None)

    def _new_lease(self, expert: int, firm: bool, before: Claim | None) -> Lease:
        """A lease with a later term than the claim `before`, even if the clock went back."""
        now = self.clock()
        claim = Claim(
            run=self.run_id,
            expert=expert,
            author=self.identity.author,
            term=max(int(now * 1000), before.term + 1 if before else 0),
            since=now,
            start_step=0,
            step=0,
            progressed=now,
            expires=now + LEASE,
        )
        return Lease(self.swarm, self.identity, claim, self.clock, self.judge, firm, before)

    def _familiar(self, search: SlotSearch) -> list[int]:
        return [slot for slot in self.familiar if search.includes(slot)]


def claimant_of(membership: Membership, device: Device | None = None) -> Claimant:
    """The claimant of a node in one run, for slots that `device` can train."""
    node, run = membership.node, membership.run
    evidence = partial(evidence_for, membership)
    return Claimant(
        membership.swarm,
        node.identity,
        run,
        membership.run_id,
        membership.survey,
        node.clock,
        node.rng,
        device,
        Judge(lambda: run.publishers, evidence, membership.refuse_claim),
        familiar=membership.trained_slots(),
    )
