"""Claims: "I train this expert". Which peer holds an expert, and which expert to take next.

A claim is a hint; a checkpoint is proof. Claims keep honest peers from training the same expert
twice. No claim makes a peer accept weights.

A liar can do this with the fields of a claim:

- Backdate `since`. It gains nothing: `since` never ranks a claim. The time until the first step
  counts from it, so the lie shortens the liar's own grace.
- Date `since` or `progressed` ahead, or set a longer life than a lease. Such a claim is not valid
  beyond CLOCK_TOLERANCE.
- Renew without steps. The lease lapses after GRACE, or after the time of STALL_STEPS steps at the
  claim's own pace, at most LONGEST_STALL however slow that pace is.
- Grind a ticket with many keys or terms. It wins a tie among newcomers, but never against a lease
  that makes steps, nor against one held undisputed for two renewals. It lapses as above.
- Lapse and claim again under a new term or key. Peers that believe claims see the slot as held.
  Waiting peers remember how long a slot has made no step, whoever claims it, and train it anyway
  after half a GRACE (`slot_search`). For those minutes nobody trains it.
- Invent steps. Only checkpoints disprove them (`Evidence`). A claim far ahead of the served
  checkpoints weighs nothing, and an established holder yields only to an author who serves steps
  made in its lease. So invented steps take no slot from a holder. Plausible ones keep newcomers
  from a free slot until they stall. A run that names `trusted_authors` counts no other claims.
- Serve bad weights under invented steps. It holds the slot until a peer tries the weights.
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
"""Seconds between announcing a claim and relying on it: rivals' claims become visible."""

GRACE = 5 * 60.0
"""Seconds a lease lasts before its first step: time to fetch a shard and to compile. A peer that
needs longer keeps the slot for as long as no other peer wants it."""

STALL_STEPS = 50
"""A lease lapses after the time of this many steps without a new one."""

SHORTEST_STALL = 2 * LEASE
LONGEST_STALL = 15 * 60.0
"""Bounds, in seconds, on the time of STALL_STEPS, whatever the claim's pace. Steps are announced
once a renewal, and a snapshot or a held-out loss takes time in between."""

OVERDUE = 1.5 * RENEW
"""Seconds since its last renewal after which a lease is likely to lapse."""

CLOCK_TOLERANCE = 10.0
"""Seconds by which another peer's clock may be ahead of ours."""

SAMPLE = 16
"""Number of slots a peer looks at before it chooses one."""

FIRST_WAIT = 5.0
LONGEST_WAIT = 5 * 60.0
"""Seconds that a peer waits between looks while it finds every slot held: at first, and at most."""

LOOK_PERIOD = 10.0
"""Seconds between two looks at a slot, counting all waiting peers."""

FASTEST = 100.0
"""Steps a second. A faster peer cannot claim all of its steps before they are published."""

STALE_HEAD = 24 * 3600.0
"""Seconds after which a head counts as stale. Its slot then needs a peer twice as much."""


@dataclass(frozen=True, kw_only=True)
class Claim(Signed):
    """One peer's lease on one slot, renewed with a later `expires` and the step reached.

    `expert` is the slot: an expert's cluster, or ROUTER.
    """

    KIND: ClassVar[str] = "claim"

    run: Hash
    expert: Slot
    author: AuthorKey
    term: Count
    """Number of this author's lease: a new one for every new attempt."""
    since: Time
    """When this lease began."""
    start_step: Count
    """The step the lease began with: that of the checkpoint it continues, or 0."""
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
        """BLAKE3 of run, slot, author and term. The lowest ticket wins among newcomers."""
        return content_id(encode([self.run, self.expert, self.author, self.term]))

    @property
    def gained(self) -> int:
        """Steps made in this lease."""
        return self.step - self.start_step

    @property
    def lapses(self) -> float:
        """When this lease ends unless it is renewed and makes steps, in Unix seconds."""
        return min(self.expires, self.progressed + self._patience)

    def as_of(self, now: float) -> Claim:
        """This lease with no time later than `now`, in case the clock was set back."""
        since, progressed = min(self.since, now), min(self.progressed, now)
        return replace(self, since=since, progressed=progressed)

    @property
    def _patience(self) -> float:
        """Seconds without a step after which the lease lapses."""
        if not self.gained:
            return GRACE
        pace = (self.progressed - self.since) / self.gained
        return min(max(STALL_STEPS * pace, SHORTEST_STALL), LONGEST_STALL)


@dataclass(frozen=True)
class Evidence:
    """How far training of one slot has come, by its published checkpoints.

    Published work lags behind claims: by the steps between two checkpoints, and by the steps made
    while a checkpoint is being published.
    """

    steps: Mapping[Author, int]
    """The furthest step of each author's heads and resume states."""
    interval: int
    """Steps between two checkpoints of the run."""

    def explains(self, claim: Claim) -> bool:
        """Whether a claim is plausible: not far ahead of the published checkpoints.

        A lease may start from any author's checkpoint. Its later steps are its own author's.
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
    """The state of the slot `expert` (a cluster, or ROUTER): its holder, and its best head."""

    expert: int
    winner: Claim | None
    head: Head | None
    evidence: Evidence | None = None
    """The checkpoints that claims are judged by; None to believe every claim."""


def claim_winner(
    claims: Iterable[Claim], now: float, evidence: Evidence | None = None
) -> Claim | None:
    """The claim that holds the slot which all of `claims` are for; None when it is free.

    A claim that makes steps wins over any newcomer. Of several such claims, the one with the most
    steps in its lease wins. Steps are compared in powers of two: claims are renewed only every
    RENEW seconds, so of two peers at equal pace each sees the other behind. Among newcomers, and at
    equal steps, the lowest ticket wins.

    These claims never win: expired or lapsed ones, ones from the future, ones with a longer life
    than a lease, and, with `evidence`, ones far ahead of it. The answer depends only on the set of
    claims, so all peers that see the same claims agree.
    """
    valid = [
        claim
        for claim in claims
        if _is_valid(claim, now) and (evidence is None or evidence.explains(claim))
    ]
    return min(valid, key=lambda claim: _rank(claim, now), default=None)


def is_advancing(claim: Claim, now: float) -> bool:
    """Whether a valid lease has settled and has made steps."""
    return claim.gained > 0 and now - claim.since > SETTLE


def is_failing(claim: Claim, now: float) -> bool:
    """Whether a lease has missed a renewal, or is about to lapse because it makes no steps."""
    return claim.lapses - now < LEASE - OVERDUE


def choose_expert(
    slots: Sequence[SlotState],
    author: Author,
    now: float,
    rng: random.Random,
    liking: Callable[[int], float] = lambda expert: 1.0,
) -> int | None:
    """The slot `author` should train next; None when all are held by others.

    Candidates are the slots that the author holds already (after a restart), else the free slots
    without any checkpoint, else all free slots. One is drawn by weight, so that peers which choose
    at the same moment spread out. Few steps and a stale head weigh most. `liking` is the weight,
    over 0, that this device gives a slot.
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
    """Longest time, in seconds, between two looks of one peer while all `clusters` slots are held.

    It is chosen so that all waiting peers together look at a slot every LOOK_PERIOD. One of the
    `peers` known to be alive trains each slot; the rest wait. The result lies between RENEW and
    LONGEST_WAIT. It is a LEASE when fewer peers are known than slots.
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
    """How much each slot needs a peer, over 0: by how few steps it has, squared, and by staleness.

    Steps are compared with the slot that has the fewest. Slots without a checkpoint need a peer
    equally.
    """
    fewest = min(slot.head.step if slot.head else 0 for slot in slots)
    return [_need(slot.head, fewest, now) if slot.head else 1.0 for slot in slots]


def _need(head: Head, fewest: int, now: float) -> float:
    stale = min(max(0.0, now - head.created) / STALE_HEAD, 1.0)
    return ((1 + fewest) / (1 + head.step)) ** 2 * (1 + stale)
