"""Claims: "I train this expert". Who holds one, and which one to take next.

A claim is a hint; a checkpoint is proof. Claims keep honest peers from training the same expert
twice, and no claim makes anybody accept weights.

What a liar can do with the fields of a claim, and what comes of it:

- backdate `since`: nothing; it never ranks a claim, and the time before the first step counts
  from it, so that the lie shortens the liar's own grace.
- date `since` or `progressed` ahead, or live longer than a lease: not valid beyond CLOCK_TOLERANCE.
- renew without a step: the lease lapses after GRACE, or after STALL_STEPS steps' worth of the
  claim's own pace, at most LONGEST_STALL however slow a pace it pretends.
- grind a ticket with many keys or terms: wins a tie among newcomers, never over a lease that
  advances, nor over one that was held undisputed for two renewals; lapses as above.
- lapse and claim again under a new term or key: holds the slot in the eyes of those who believe
  claims. Waiting peers remember how long a slot has made no step, whoever claims it, and train it
  all the same after half a GRACE (`slot_search`): minutes in which nobody trains it.
- invent steps: only checkpoints can tell (`Evidence`). A claim far ahead of what is served weighs
  nothing, and a holder of a while yields only to an author who serves steps made in its lease. So
  invented steps take no slot from a holder. Those that could be true keep newcomers from a free
  slot until they stall; a run that names `trusted_authors` counts the claims of no one else.
- serve weights that are no good, under invented steps: takes the slot until somebody tries them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from paris_p2p.errors import BadContent
from paris_p2p.identity import Author
from paris_p2p.records.codec import encode
from paris_p2p.records.fields import AuthorKey, Count, Hash, Signed, Time
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import content_id
from paris_p2p.records.run import Slot

LEASE = 60.0
"""Seconds a claim lives unless renewed."""

RENEW = 20.0
"""Seconds between two renewals."""

SETTLE = 2.0
"""Seconds between announcing a claim and believing it: time for rivals' claims to be seen."""

GRACE = 5 * 60.0
"""Seconds a lease lasts without any step: time to fetch a shard and to compile. Who needs longer
keeps the slot for as long as nobody else wants it."""

STALL_STEPS = 50
"""Steps' worth of time without a new one after which a lease lapses."""

SHORTEST_STALL = 2 * LEASE
LONGEST_STALL = 15 * 60.0
"""Seconds between which those STALL_STEPS are taken to last, whatever pace a claim shows: steps
are told once a renewal, and a snapshot or a held-out loss comes in between."""

OVERDUE = 1.5 * RENEW
"""Seconds since its last renewal after which a lease is likely to lapse."""

CLOCK_TOLERANCE = 10.0
"""Seconds by which another peer's clock may be ahead of ours."""

SAMPLE = 16
"""Slots a peer looks at before it chooses one."""

FIRST_WAIT = 5.0
LONGEST_WAIT = 5 * 60.0
"""Seconds that a peer which finds every slot held waits before it looks again, at first and at
most."""

LOOK_PERIOD = 10.0
"""Seconds between two looks at a slot, by any of the peers that wait for one."""

FASTEST = 100.0
"""Steps a second: who makes more cannot claim all of them before they are published."""

STALE_HEAD = 24 * 3600.0
"""Seconds after which a head counts as stale; its slot is needed twice as much."""


@dataclass(frozen=True, kw_only=True)
class Claim(Signed):
    """One peer's lease on one slot, renewed with a later `expires` and the step reached."""

    KIND: ClassVar[str] = "claim"

    run: Hash
    expert: Slot
    author: AuthorKey
    term: Count
    """Counts this author's leases: a new one for every new attempt."""
    since: Time
    """When this lease began."""
    start_step: Count
    """The step it began with: that of the checkpoint it continues, or 0."""
    step: Count
    """The newest step."""
    progressed: Time
    """When that step was made; `since` while there is none."""
    expires: Time

    def check(self) -> None:
        if self.step < self.start_step:
            raise BadContent("step: lies before start_step")
        if not self.since <= self.progressed:
            raise BadContent("progressed: lies before since")

    @cached_property
    def ticket(self) -> bytes:
        """The lot drawn among newcomers: BLAKE3 of what the claim is for, by whom, which time."""
        return content_id(encode([self.run, self.expert, self.author, self.term]))

    @property
    def gained(self) -> int:
        """Steps made in this lease."""
        return self.step - self.start_step

    @property
    def lapses(self) -> float:
        """When this lease ends unless it is renewed and advances, in Unix seconds."""
        return min(self.expires, self.progressed + self._patience)

    def as_of(self, now: float) -> Claim:
        """This lease where the clock shows `now`: nothing in it lies ahead of a clock set back."""
        since, progressed = min(self.since, now), min(self.progressed, now)
        return replace(self, since=since, progressed=progressed)

    @property
    def _patience(self) -> float:
        """Seconds that may pass without a step."""
        if not self.gained:
            return GRACE
        pace = (self.progressed - self.since) / self.gained
        return min(max(STALL_STEPS * pace, SHORTEST_STALL), LONGEST_STALL)


@dataclass(frozen=True)
class Evidence:
    """How far training of one slot has come, by the checkpoints that are there.

    Published work lags behind what is claimed: by the steps between two checkpoints, and by those
    made while one is on its way.
    """

    steps: Mapping[Author, int]
    """The furthest step that each author's heads and resume states show."""
    interval: int
    """Steps between two checkpoints of the run."""

    def explains(self, claim: Claim) -> bool:
        """Whether a claim may be true: it is not far ahead of what is published.

        A lease begins at anybody's checkpoint; its steps become its author's own.
        """
        spare = 2 * self.interval + round(FASTEST * LEASE)
        anybody, own = max(self.steps.values(), default=0), self.steps.get(claim.author, 0)
        return (
            claim.start_step <= anybody + spare and claim.step <= max(claim.start_step, own) + spare
        )

    def doubt(self, claim: Claim) -> str | None:
        """Why a claim weighs nothing, in words; None when it may be true."""
        if self.explains(claim):
            return None
        return f"it claims step {claim.step}, far ahead of what its author serves"

    def confirms(self, claim: Claim) -> bool:
        """Whether its author has published steps made in this lease."""
        return self.explains(claim) and self.steps.get(claim.author, 0) > claim.start_step


@dataclass(frozen=True)
class SlotState:
    """What is known of one slot: who holds it, and the newest checkpoint that counts."""

    expert: int
    winner: Claim | None
    head: Head | None
    evidence: Evidence | None = None
    """What checkpoints say of any claim; None where claims are taken at their word."""


def claim_winner(
    claims: Iterable[Claim], now: float, evidence: Evidence | None = None
) -> Claim | None:
    """Who holds the slot that all of `claims` are for; None when nobody does.

    Whoever is advancing keeps it, before any newcomer; of several, the one that gained the most
    steps in its lease, in powers of two: claims are told every RENEW seconds, so of two that keep
    pace each sees the other behind. Among newcomers, and at equal steps, the lowest ticket wins.

    Claims that have expired or lapsed never win, nor do claims from the future or with a longer
    life than a lease, nor, where there is `evidence`, those far ahead of it. The answer depends on
    the set of claims and on that only, so all who see the same agree.
    """
    valid = [
        claim
        for claim in claims
        if _is_valid(claim, now) and (evidence is None or evidence.explains(claim))
    ]
    return min(valid, key=lambda claim: _rank(claim, now), default=None)


def is_advancing(claim: Claim, now: float) -> bool:
    """Whether a lease that holds has settled and has steps to show."""
    return claim.gained > 0 and now - claim.since > SETTLE


def is_failing(claim: Claim, now: float) -> bool:
    """Whether a lease has missed a renewal, or is about to lapse for want of steps."""
    return claim.lapses - now < LEASE - OVERDUE


def choose_expert(
    slots: Sequence[SlotState],
    author: Author,
    now: float,
    rng: random.Random,
    liking: Callable[[int], float] = lambda expert: 1.0,
) -> int | None:
    """The slot `author` should train next; None when all are held by others.

    First one it holds already (after a restart), then a free one without any checkpoint, then a
    free one by how much it needs a peer: few steps and a stale head weigh most. Slots are drawn by
    weight, so that peers which choose at the same moment spread. `liking` is the weight this
    device gives a slot, over 0.
    """
    own = [slot for slot in slots if slot.winner and slot.winner.author == author]
    free = [slot for slot in slots if slot.winner is None]
    untouched = [slot for slot in free if slot.head is None]
    candidates = own or untouched or free
    if not candidates:
        return None
    weights = [
        liking(slot.expert) * weight
        for slot, weight in zip(candidates, _needs(candidates, now), strict=True)
    ]
    return rng.choices(candidates, weights)[0].expert


def longest_wait(peers: int, clusters: int) -> float:
    """Seconds at most between two looks of one peer while each of `clusters` slots is held.

    So long that all who wait look at a slot every LOOK_PERIOD, as far as they can tell how many
    they are: of the `peers` known to be alive, one trains each slot. RENEW to LONGEST_WAIT; a LEASE
    where fewer peers are known than there must be.
    """
    waiting = peers - clusters
    if waiting < 0:
        return LEASE
    wait = LOOK_PERIOD * waiting * min(SAMPLE, clusters) / clusters
    return min(max(wait, RENEW), LONGEST_WAIT)


def _is_valid(claim: Claim, now: float) -> bool:
    begun = max(claim.since, claim.progressed) <= now + CLOCK_TOLERANCE
    return begun and now < claim.lapses and claim.expires <= now + LEASE + CLOCK_TOLERANCE


def _rank(claim: Claim, now: float) -> tuple[int, bytes, tuple[float, ...]]:
    """Sorts the winner first. The last part makes the order total."""
    gained = claim.gained.bit_length() if is_advancing(claim, now) else 0
    told = (claim.since, claim.start_step, claim.step, claim.progressed, claim.expires)
    return (-gained, claim.ticket, told)


def _needs(slots: Sequence[SlotState], now: float) -> list[float]:
    """How much each slot needs a peer, over 0: the square of how few steps it has, and staleness.

    In proportion to the slot that has the fewest; all of equal need where none has a checkpoint.
    """
    fewest = min(slot.head.step if slot.head else 0 for slot in slots)
    return [_need(slot.head, fewest, now) if slot.head else 1.0 for slot in slots]


def _need(head: Head, fewest: int, now: float) -> float:
    stale = min(max(0.0, now - head.created) / STALE_HEAD, 1.0)
    return ((1 + fewest) / (1 + head.step)) ** 2 * (1 + stale)
