"""The contents to keep, copy and evict: pure decisions.

A content is *current* while it is part of the run, or a record of a slot that counts names it. A
checkpoint or resume state is *superseded* when its author has published a newer one, so that no
record names it any more. It is *outranked* when others' records come before its own. It is *left*
when only a run that this home has left names it.

Outranked and left content goes only when room is needed. Ranks follow the claims of authors, and
nobody should be able to evict everybody's work by claiming more.

For the same reason places do not go by rank alone. Keys and steps cost nothing, but networks and
disks do. A record gets a place only if its content is served, and all providers in one network
share one place (`shared_out`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction

from paris_p2p.identity import Author
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.books.record_book import Record, RecordBook
from paris_p2p.records.head import Head, ranked_heads
from paris_p2p.records.manifest import MAX_SIZE
from paris_p2p.records.resume import Resume, ranked_resumes
from paris_p2p.records.run import RunManifest

HEADS_KEPT = 3
"""Most heads of each slot that are worth copying, each from another network."""
HEADS_ALIKE = 2
"""Heads of each slot that are worth copying even from one network."""
RESUMES_KEPT = 2
"""Like HEADS_KEPT, for resume states: each is as large as eight heads, and only saves time."""
RESUMES_ALIKE = 1
LOOKED_UP = 8
"""Most records of a slot and kind whose providers are looked up."""
TRAINED = ("checkpoint", "resume")
"""Kinds of content that newer ones supersede."""

ProviderNetworks = Mapping[Author, str]
"""Peers that serve a content or announce a record, and the network of each ("" if unknown)."""


@dataclass(frozen=True)
class Stored:
    """A content in the store, whole or in part."""

    content: bytes
    kind: str
    """The kind in its manifest; "" if that is damaged."""
    named: bool
    """Whether a known head or resume state names it."""
    last_use: float
    """When it was last wanted or used, in Unix seconds."""
    left: bool = False
    """Whether only a left run names it."""
    size: int = 0
    """Bytes of it that are here."""


@dataclass(frozen=True)
class Thin:
    """A content worth copying, and its number of providers."""

    content: bytes
    providers: int


def content_limit(run: RunManifest, record: Head | Resume) -> int:
    """Most bytes of the content that a record names."""
    limit = run.resume_limit if isinstance(record, Resume) else run.checkpoint_limit
    return limit(record.expert)


def possible_heads(run: RunManifest, heads: Iterable[Head]) -> list[Head]:
    """The heads of a slot that count, best first, without those that claim too many bytes."""
    return ranked_heads((head for head in heads if _fits(run, head)), run.publishers)


def possible_resumes(run: RunManifest, resumes: Iterable[Resume]) -> list[Resume]:
    """Like `possible_heads`, for resume states."""
    return ranked_resumes((one for one in resumes if _fits(run, one)), run.publishers)


def wanted_content(
    run: RunManifest,
    heads: HeadBook,
    resumes: RecordBook[Resume],
    providers: Mapping[bytes, ProviderNetworks],
    counts: Callable[[Head | Resume], bool] = lambda record: True,
) -> dict[bytes, int]:
    """The contents that the swarm should keep, each with its most bytes.

    They are the run's own content, and the heads and resume states of each slot that have a place.
    There is more than one place, so that a worthless record does not displace the others. Only
    records that `counts` accepts and whose content has `providers` get one. The run record is not
    included: every peer of the run holds it anyway.
    """

    def kept(ranked: Sequence[Record], most: int, alike: int) -> list[Record]:
        served = [one for one in ranked if counts(one) and providers.get(one.manifest)]
        return shared_out(served, {one: providers[one.manifest] for one in served}, most, alike)

    wanted = dict.fromkeys(run.content_ids(), MAX_SIZE)
    for slot in run.slots():
        records: list[Head | Resume] = [
            *kept(possible_heads(run, heads.of(slot)), HEADS_KEPT, HEADS_ALIKE),
            *kept(possible_resumes(run, resumes.of(slot)), RESUMES_KEPT, RESUMES_ALIKE),
        ]
        for record in records:
            limit = content_limit(run, record)
            wanted[record.manifest] = max(limit, wanted.get(record.manifest, 0))
    return wanted


def shared_out(
    records: Sequence[Record], origins: Mapping[Record, ProviderNetworks], most: int, alike: int
) -> list[Record]:
    """The `records`, best first, that have a place: at most `most`, shared out by network.

    In turn, each record takes the place of a network that serves it: its author's own, else one
    that is no author's own, else the one that serves most records, since honest peers copy even a
    flood. If fewer than `alike` get a place, the best others fill up.
    """
    networks = {record: set(origins[record].values()) for record in records}
    own = {record: origins[record].get(record.author) for record in records}
    authors = set(own.values())
    busy = Counter(network for those in networks.values() for network in those)
    chosen: list[Record] = []
    taken: set[str] = set()
    for record in records:
        free = networks[record] - taken
        if free and len(chosen) < most:
            rank = {
                network: (network == own[record], network not in authors, busy[network], network)
                for network in free
            }
            taken.add(max(free, key=rank.__getitem__))
            chosen.append(record)
    others = [record for record in records if record not in chosen]
    return chosen + others[: max(0, alike - len(chosen))]


def worth_looking_up(
    records: Sequence[Record],
    origins: Mapping[Record, ProviderNetworks],
    unserved: Container[bytes],
) -> list[Record]:
    """The ranked records of a slot whose providers to look up, shared out by announcers' networks.

    Records of `unserved` content come after the others.
    """
    later = sorted(records, key=lambda record: record.manifest in unserved)
    return shared_out(later, origins, LOOKED_UP, LOOKED_UP)


def own_content(author: Author, heads: HeadBook, resumes: RecordBook[Resume]) -> set[bytes]:
    """An author's newest contents in every slot."""
    return {head.manifest for head in heads.all() if head.author == author} | {
        resume.manifest for resume in resumes.all() if resume.author == author
    }


def worth_copying(
    missing: Set[bytes],
    begun: Container[bytes],
    providers: Mapping[bytes, int],
    replicas: int | None,
) -> list[Thin]:
    """The `missing` contents that this peer should copy, the thinnest first.

    They have fewer than `replicas` providers (None: any number), or they have `begun`: they are
    here in part, damaged or half fetched. Contents without a provider are left out.
    """
    found = [Thin(content, providers.get(content, 0)) for content in missing]
    worth = [
        item
        for item in found
        if item.providers > 0
        and (replicas is None or item.providers < replicas or item.content in begun)
    ]
    return sorted(worth, key=lambda item: (item.providers, item.content))


def superseded(stored: Iterable[Stored], keep: Container[bytes], before: float) -> list[bytes]:
    """Superseded contents that are unused since `before`, the longest unused first."""
    return _by_last_use(
        item
        for item in stored
        if not item.named and not item.left and _is_trained(item) and _may_go(item, keep, before)
    )


def left(stored: Iterable[Stored], keep: Container[bytes], before: float) -> list[bytes]:
    """Likewise contents of left runs, to evict when room is needed.

    So are contents that no record names and no newer one supersedes: their use is unknown.
    """
    return _by_last_use(
        item
        for item in stored
        if not item.named and (item.left or not _is_trained(item)) and _may_go(item, keep, before)
    )


def outranked(stored: Iterable[Stored], keep: Container[bytes], before: float) -> list[bytes]:
    """Likewise outranked contents."""
    return _by_last_use(item for item in stored if item.named and _may_go(item, keep, before))


def to_evict(
    others: Mapping[bytes, int], sizes: Mapping[bytes, int], least: Mapping[bytes, int], needed: int
) -> list[bytes]:
    """Current contents to evict so that `needed` bytes become free, as few as suffice.

    Each must have at least `least` other providers. Those with the most go first. The result is
    empty if all of them together are not enough.
    """
    enough = [content for content, count in others.items() if count >= least[content]]
    chosen: list[bytes] = []
    for content in sorted(enough, key=lambda content: (-others[content], content)):
        if needed <= 0:
            break
        chosen.append(content)
        needed -= sizes[content]
    return chosen if needed <= 0 else []


def bytes_taken(
    named: Mapping[bytes, Collection[bytes]], sizes: Mapping[bytes, int]
) -> dict[bytes, Fraction]:
    """The bytes that each run takes, from its `named` contents and the bytes of each that are here.

    A content that several runs name counts in equal parts.
    """
    sharers = Counter(content for contents in named.values() for content in contents)
    return {
        run: sum((Fraction(sizes.get(one, 0), sharers[one]) for one in contents), Fraction())
        for run, contents in named.items()
    }


def yielding(
    taken: Mapping[bytes, Fraction], quota: int, asker: bytes | None, size: int
) -> set[bytes]:
    """The runs whose content may go so that `asker` gets `size` bytes more.

    Each run is entitled to an equal share of the quota. If the asker stays within its share, runs
    over their share yield, as does the asker. Otherwise only the asker yields. Without an asker
    (the quota is exceeded), the runs over their share yield, else all.
    """
    share = Fraction(quota, max(1, len(taken)))
    over = {run for run, size_taken in taken.items() if size_taken > share}
    if asker is None:
        return over or set(taken)
    return {asker} | (over if taken[asker] + size <= share else set())


def _may_go(item: Stored, keep: Container[bytes], before: float) -> bool:
    return item.content not in keep and item.last_use < before


def _fits(run: RunManifest, record: Head | Resume) -> bool:
    return record.size <= content_limit(run, record)


def _is_trained(item: Stored) -> bool:
    return item.kind in TRAINED or not item.kind


def _by_last_use(items: Iterable[Stored]) -> list[bytes]:
    return [item.content for item in sorted(items, key=lambda item: (item.last_use, item.content))]
