"""The lease on a slot that this peer holds: its claim, renewed while training advances.

Renewing and watching run side by side. A renewal waits LOOK_FIRST seconds at most for the look at
others' claims, so that slow lookups and proofs cannot delay it too long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, replace

from paris_p2p.errors import Held, Unreachable
from paris_p2p.identity import Author, Identity, peer_id_of
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.books.survey import Refuse, read_claims
from paris_p2p.records.claim import (
    LEASE,
    RENEW,
    Claim,
    Evidence,
    claim_winner,
    is_advancing,
)
from paris_p2p.records.keys import claims_key
from paris_p2p.records.run import slot_name

log = logging.getLogger(__name__)

Clock = Callable[[], float]

FIRM_AFTER = 2
"""Renewals without a rival after which a lease is firm."""

LOOK_FIRST = 4.0
"""Seconds that a renewal waits for the look at others' claims."""

STORE_PATIENCE = 10.0
"""Seconds that one renewal may take. With LOOK_FIRST it is well under RENEW: after one failed
renewal, the next still comes before the lease expires."""

WATCH_PATIENCE = 40.0
"""Seconds for one look at others' claims and for checking their evidence."""

MOST_DOUBTED = 4
"""Most claims checked in one look. The others are left for the next one."""

TWIN = "another peer uses this home's key"


class LeaseLost(Held):
    """Another peer holds this slot. Stop, keep the work, and take another slot."""


@dataclass(frozen=True)
class Judge:
    """Judges the claims of others.

    Parameters
    ----------
    trusted : returns the authors whose claims count; () for everyone.
    evidence : returns the served checkpoints of the claim's slot and author; None to believe every
        claim.
    refuse : called with each claim that does not count, and the reason.
    """

    trusted: Callable[[], Collection[Author]] = tuple
    evidence: Callable[[Claim], Awaitable[Evidence]] | None = None
    refuse: Refuse = lambda claim, reason: None


class Lease:
    """A slot that this peer holds while it renews. `advance(step)` keeps it the incumbent.

    A firm lease was held undisputed for a while and yields only to a lease that advances: a
    newcomer with a better ticket overlooked it or ground that ticket. An incumbent lease advances
    and was not outranked for a while. It yields only to an author who serves steps made in its own
    lease.

    Parameters
    ----------
    predecessor : the earlier claim of this author on the slot, from an earlier session.
    """

    def __init__(
        self,
        swarm: Swarm,
        identity: Identity,
        claim: Claim,
        clock: Clock,
        judge: Judge | None = None,
        firm: bool = False,
        predecessor: Claim | None = None,
    ) -> None:
        self._swarm = swarm
        self._identity = identity
        self._claim = claim
        self._clock = clock
        self._judge = judge or Judge()
        self._undisputed = FIRM_AFTER if firm else 0
        self._unrivalled = 0
        self._earlier = predecessor
        self._told_until = claim.expires
        self._twin_seen = False
        self._yielded_to_twin = False
        self.warnings: list[str] = []
        """Warnings for the user. The reader removes them."""

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
        """Note that training has reached `step`. The next renewal announces it."""
        if step > self._claim.step:
            now = self._clock()
            self._claim = replace(self._claim.as_of(now), step=step, progressed=now)

    async def renew(self) -> bool:
        """Announce the claim for another LEASE seconds. False if no other peer stored it."""
        self._claim = self._current()
        self._told_until = max(self._told_until, self._claim.expires)
        key = claims_key(self._claim.run, self._claim.expert)
        return await self._swarm.store(key, self._claim.seal(self._identity), self._claim.expires)

    async def rival(self) -> Claim | None:
        """The announced claim that this lease must yield to, or None."""
        return await self._strongest(await self._look())

    async def keep(self) -> None:
        """Renew every RENEW seconds without end. Raises LeaseLost if another peer has won.

        The first renewal comes early, to see claims that were overlooked while the lease settled. A
        failed renewal does not stop training: the next one tries again.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + RENEW / 4
        await asyncio.sleep(RENEW / 4)
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                due = max(due, loop.time()) + RENEW
                await _finished(watching, LOOK_FIRST)
                await self._renew_in_time()
                await _finished(watching, due - loop.time())
                await asyncio.sleep(due - loop.time())
                if watching.done():
                    watching = asyncio.create_task(self._watch())
        finally:
            await end_tasks(watching)

    async def release(self) -> None:
        """Withdraw the claim, but not one that another peer with the same key has stored."""
        if not self._yielded_to_twin:
            await self._swarm.withdraw(claims_key(self._claim.run, self._claim.expert))

    def _current(self) -> Claim:
        """The claim as a renewal would announce it now."""
        now = self._clock()
        return replace(self._claim.as_of(now), expires=now + LEASE)

    async def _renew_in_time(self) -> None:
        try:
            async with asyncio.timeout(STORE_PATIENCE):
                await self.renew()
        except (Unreachable, TimeoutError, OSError) as error:
            log.warning("could not renew the lease on %s: %s", slot_name(self.expert), error)

    async def _watch(self) -> None:
        """Look once at others' claims on the slot. Raises LeaseLost if another peer has won it."""
        try:
            async with asyncio.timeout(WATCH_PATIENCE):
                found = await self._look()
                self._expect_no_twin(found)
                winner = await self._strongest(found)
                self._unrivalled += self._outranks(found)
        except (Unreachable, TimeoutError, OSError) as error:
            log.warning("cannot see who claims %s: %s", slot_name(self.expert), error)
            return
        if winner is not None:
            raise LeaseLost(
                f"{slot_name(self.expert)} is now held by {peer_id_of(winner.author)}",
                "the work is kept and published; claim another expert",
            )
        self._undisputed += 1

    async def _look(self) -> list[Claim]:
        run, trusted = self._claim.run, self._judge.trusted()
        return await read_claims(self._swarm, run, self.expert, trusted)

    async def _strongest(self, found: Iterable[Claim]) -> Claim | None:
        """The claim among these that this lease must yield to.

        The evidence of each claim that outranks it is checked. A claim without any does not count.
        """
        others = [claim for claim in found if claim.author != self._claim.author]
        for _ in range(MOST_DOUBTED):
            now, mine = self._clock(), self._current()
            winner = claim_winner([*others, mine], now)
            if winner is None or winner is mine:
                return None
            if not is_advancing(winner, now):
                return None if self.firm else winner
            if await self._believes(winner):
                return winner
            others.remove(winner)
        return None

    def _is_incumbent(self) -> bool:
        """Whether this lease advances and no claim, true or false, outranked it for a while."""
        return self._unrivalled >= FIRM_AFTER and is_advancing(self._claim, self._clock())

    async def _believes(self, claim: Claim) -> bool:
        if self._judge.evidence is None:
            return True
        evidence = await self._judge.evidence(claim)
        if (doubt := evidence.doubt(claim)) is not None:
            self._judge.refuse(claim, doubt)
            return False
        return evidence.confirms(claim) or not self._is_incumbent()

    def _outranks(self, found: Iterable[Claim]) -> bool:
        """Whether this lease ranks first even if every claim is believed."""
        others = [claim for claim in found if claim.author != self._claim.author]
        mine = self._current()
        return claim_winner([*others, mine], self._clock()) is mine

    def _expect_no_twin(self, found: Iterable[Claim]) -> None:
        """Warn of another peer that claims this slot under our key. The later lease yields.

        Raises LeaseLost if this lease is the later one.
        """
        twin = next((claim for claim in found if self._is_twins(claim)), None)
        if twin is None:
            return
        mine = self._claim
        self._yielded_to_twin = (twin.term, -twin.step) < (mine.term, -mine.step)
        lost = LeaseLost(
            f"{TWIN}: it trains {slot_name(self.expert)} too, at step {twin.step}",
            "give each peer its own home and key: with one key they overwrite each other's work",
        )
        if not self._twin_seen:
            self._twin_seen = True
            self._judge.refuse(twin, f"{TWIN}, a copied home?")
            self.warnings.append(str(lost))
            log.warning("%s", lost)
        if self._yielded_to_twin:
            raise lost

    def _is_twins(self, claim: Claim) -> bool:
        """Whether another peer with our key wrote this claim.

        A claim left by an earlier session of this peer is never renewed.
        """
        mine = self._claim
        if claim.author != mine.author:
            return False
        if claim.term >= mine.term:
            return claim.term > mine.term or claim.expires > self._told_until
        before, self._earlier = self._earlier, claim
        return before is not None and claim.expires > before.expires


async def _finished(task: asyncio.Task[None], seconds: float) -> None:
    """Wait for a task to end, `seconds` at most. Raises the task's error."""
    if not task.done():
        await asyncio.wait([task], timeout=max(0.0, seconds))
    if task.done():
        task.result()
