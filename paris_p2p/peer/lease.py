"""A slot this peer holds: the claim on it, renewed while training advances."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from paris_p2p.errors import Held, Unreachable
from paris_p2p.identity import Author, Identity, peer_id_of
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.survey import read_claims
from paris_p2p.records.claim import LEASE, RENEW, Claim, claim_winner, is_advancing
from paris_p2p.records.keys import claims_key
from paris_p2p.records.run import slot_name

log = logging.getLogger(__name__)

Clock = Callable[[], float]

FIRM_AFTER = 2
"""Renewals without a rival after which a lease is firm."""


class LeaseLost(Held):
    """Another peer holds this slot now; stop, keep the work, take another slot."""


class Lease:
    """A slot this peer holds while it renews. `advance(step)` is what keeps it the incumbent.

    A firm lease yields only to one that advances: it was held undisputed for a while, so that a
    newcomer with a better ticket must have overlooked it, or ground that ticket.
    """

    def __init__(
        self,
        swarm: Swarm,
        identity: Identity,
        claim: Claim,
        clock: Clock,
        trusted_authors: Collection[Author] = (),
        firm: bool = False,
    ) -> None:
        self._swarm = swarm
        self._identity = identity
        self._claim = claim
        self._clock = clock
        self._trusted_authors = trusted_authors
        self._undisputed = FIRM_AFTER if firm else 0

    @property
    def expert(self) -> int:
        return self._claim.expert

    @property
    def firm(self) -> bool:
        return self._undisputed >= FIRM_AFTER

    def begin(self, step: int) -> None:
        """Note the step that this lease's training starts from."""
        self._claim = replace(self._claim, start_step=step, step=step)

    def advance(self, step: int) -> None:
        """Note that training has reached `step`; told to the swarm at the next renewal."""
        if step > self._claim.step:
            self._claim = replace(self._claim, step=step, progressed=self._clock())

    async def renew(self) -> bool:
        """Announce the claim for another LEASE seconds. False when no other peer took it."""
        self._claim = replace(self._claim, expires=self._clock() + LEASE)
        key = claims_key(self._claim.run, self._claim.expert)
        return await self._swarm.store(key, self._claim.seal(self._identity), self._claim.expires)

    async def rival(self) -> Claim | None:
        """The claim that this lease has to yield to, by everything the swarm says; or None."""
        mine = self._claim
        found = await read_claims(self._swarm, mine.run, mine.expert, self._trusted_authors)
        others = [claim for claim in found if claim.author != mine.author]
        now = self._clock()
        winner = claim_winner([*others, self._claim], now)
        if winner is None or winner is self._claim:
            return None
        return winner if is_advancing(winner, now) or not self.firm else None

    async def keep(self) -> None:
        """Renew every RENEW seconds for ever, and once early: what was overlooked while the lease
        settled shows by then. Raises LeaseLost when another peer has won.

        A network that is down is no reason to stop training: the next renewal tries again.
        """
        wait = RENEW / 4
        while True:
            await asyncio.sleep(wait)
            wait = RENEW
            try:
                await self.renew()
                winner = await self.rival()
            except (Unreachable, TimeoutError, OSError) as error:
                log.warning("could not renew the lease on %s: %s", slot_name(self.expert), error)
                continue
            if winner is not None:
                raise LeaseLost(
                    f"{slot_name(self.expert)} is now held by {peer_id_of(winner.author)}",
                    "the work is kept and published; claim another expert",
                )
            self._undisputed += 1

    async def release(self) -> None:
        await self._swarm.withdraw(claims_key(self._claim.run, self._claim.expert))
