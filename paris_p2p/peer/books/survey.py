"""The announced state of a run's slots, read from the DHT and checked record by record.

Everything read here is a hint. Claims decide who should train. Heads name content that is verified
by hash. Invalid records are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from paris_p2p.errors import BadContent
from paris_p2p.identity import Author
from paris_p2p.network.key_pages import read_pages
from paris_p2p.network.swarm import MAX_VALUE, Entry, Swarm
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.record_book import Record, RecordBook
from paris_p2p.records.claim import Claim, Evidence, SlotState, claim_winner
from paris_p2p.records.codec import decode
from paris_p2p.records.head import Head, best_head
from paris_p2p.records.keys import (
    PEER_LEVELS,
    SHARED_LEVELS,
    claims_key,
    heads_key,
    peers_key,
)
from paris_p2p.records.presence import Presence
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest

Clock = Callable[[], float]

Refuse = Callable[[Claim, str], None]
"""Called with each claim that does not count, and the reason."""


READ_AT_ONCE = 16
"""Keys looked up at the same time."""

REMEMBERED_CLAIMS = 4096
"""Sealed claims whose check is cached: each is read many times before it is renewed."""

REMEMBERED_PRESENCES = 4096
"""Sealed presences whose check is cached: providers are looked up again and again."""


async def read_claims(
    swarm: Swarm, run_id: bytes, expert: int, publishers: Collection[Author] = ()
) -> list[Claim]:
    """The valid claims on one slot. Only an author's own record under its own subkey counts.

    publishers : the authors whose checkpoints, and so whose claims, count; () for everyone.
    """
    claims = []
    for entry in await swarm.lookup(claims_key(run_id, expert)):
        if publishers and entry.owner not in publishers:
            continue
        claim = _claim_in(entry.value)
        if claim is not None and (claim.author, claim.run, claim.expert) == (
            entry.owner,
            run_id,
            expert,
        ):
            claims.append(claim)
    return claims


@lru_cache(REMEMBERED_CLAIMS)
def _claim_in(sealed: bytes) -> Claim | None:
    """The claim in a signed envelope; None if it is not a valid claim."""
    try:
        return Claim.unseal(sealed)
    except BadContent:
        return None


async def read_winners(
    swarm: Swarm,
    run: RunManifest,
    run_id: bytes,
    slots: Sequence[int],
    clock: Clock,
    evidence: Mapping[int, Evidence] | None = None,
    refuse: Refuse = lambda claim, reason: None,
) -> list[Claim | None]:
    """The claims that hold `slots` now, in their order. `evidence` : what claims are judged by."""
    publishers, winners = run.publishers, list[Claim | None]()
    for some in _batches(slots):
        found = await asyncio.gather(
            *(read_claims(swarm, run_id, slot, publishers) for slot in some)
        )
        for slot, claims in zip(some, found, strict=True):
            shown = (evidence or {}).get(slot)
            winners.append(claim_winner(claims, clock(), shown))
            for claim in claims:
                if shown is not None and (doubt := shown.doubt(claim)) is not None:
                    refuse(claim, doubt)
    return winners


def _batches(slots: Sequence[int]) -> Iterator[Sequence[int]]:
    """The slots in batches that are read at the same time."""
    return (slots[start : start + READ_AT_ONCE] for start in range(0, len(slots), READ_AT_ONCE))


async def read_heads(swarm: Swarm, heads: HeadBook, expert: int, run_id: bytes) -> None:
    """Add the announced heads of one slot to the book. Any peer may announce them."""
    await read_records(swarm, heads, heads_key(run_id, expert), expert)


async def read_records(swarm: Swarm, book: RecordBook[Record], key: str, expert: int) -> None:
    """Add the records announced under a slot's `key` to the book, with their announcers."""
    entries = await read_pages(swarm, key, SHARED_LEVELS)
    await asyncio.to_thread(_take_in, book, entries, expert)


def _take_in(book: RecordBook[Record], entries: Iterable[Entry], expert: int) -> None:
    """Check each record once, however many peers announce it. Full pages take seconds."""
    announced: defaultdict[bytes, dict[Author, float]] = defaultdict(dict)
    for entry in entries:
        with contextlib.suppress(BadContent):
            for sealed in sealed_records(entry.value):
                announced[sealed][entry.owner] = entry.expires
    book.hear(expert, announced)


def sealed_records(value: bytes) -> list[bytes]:
    """The records in one announcement. BadContent if it is not a short list of records."""
    listed = decode(value, MAX_VALUE)
    if not isinstance(listed, list) or not all(isinstance(sealed, bytes) for sealed in listed):
        raise BadContent("an announcement is not a list of records")
    return listed


async def read_peers(swarm: Swarm, run_id: bytes) -> list[Presence]:
    """The peers that announce that they take part in a run."""
    entries = await read_pages(swarm, peers_key(run_id), PEER_LEVELS)
    present = await asyncio.to_thread(presences, entries)
    return [presence for presence in present if presence.run == run_id]


def presences(entries: Iterable[Entry]) -> list[Presence]:
    """The presence records that their owners stored themselves. Full pages take seconds."""
    found = ((entry.owner, _presence_in(entry.value)) for entry in entries)
    return [one for owner, one in found if one is not None and one.author == owner]


@lru_cache(REMEMBERED_PRESENCES)
def _presence_in(sealed: bytes) -> Presence | None:
    """The presence in a signed envelope; None if it is not a valid presence."""
    try:
        return Presence.unseal(sealed)
    except BadContent:
        return None


async def survey(
    swarm: Swarm,
    heads: HeadBook,
    run: RunManifest,
    run_id: bytes,
    clock: Clock,
    slots: Iterable[int] | None = None,
    refuse: Refuse = lambda claim, reason: None,
) -> list[SlotState]:
    """The state of each of `slots` (None: all): its holder, and its best head."""
    wanted: Sequence[int] = run.slots() if slots is None else list(slots)
    for some in _batches(wanted):
        await asyncio.gather(*(read_heads(swarm, heads, slot, run_id) for slot in some))
    shown = {slot: _shown(heads, slot, run) for slot in wanted}
    winners = await read_winners(swarm, run, run_id, wanted, clock, shown, refuse)
    return [
        SlotState(slot, winner, best_head(heads.of(slot), run.publishers), shown[slot])
        for slot, winner in zip(wanted, winners, strict=True)
    ]


def furthest_steps(records: Iterable[Head | Resume]) -> dict[Author, int]:
    """The furthest step of each author, as its records claim."""
    steps: dict[Author, int] = {}
    for record in records:
        steps[record.author] = max(record.step, steps.get(record.author, 0))
    return steps


def _shown(heads: HeadBook, slot: int, run: RunManifest) -> Evidence:
    return Evidence(furthest_steps(heads.known(slot)), run.recipe.publish_every)
