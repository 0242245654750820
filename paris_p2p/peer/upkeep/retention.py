"""What should be kept, copied and let go: pure decisions over what is known.

A content is *current* while the run is made of it, or one of the records of a slot that count names
it. A checkpoint or resume state is *superseded* when its author has published a newer one, so that
no record names it any more; *outranked* when others' records come before its own; *left* when only
a run names it that this home has left.

What is outranked or left goes only where room is needed: ranks follow what authors say, and nobody
should be able to have everybody's work thrown away by saying more.

For the same reason the places among what is kept do not go by rank alone. Keys and steps cost
nothing, networks and disks do: a record has a place once somebody serves what it names, and those
who serve from one network have one place between them (`shared_out`).
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
"""Heads of each slot that are worth copying at most, each from another network."""
HEADS_ALIKE = 2
"""Those that are however few networks they come from."""
RESUMES_KEPT = 2
"""Resume states of each slot that are: as large as eight heads, and only saving time."""
RESUMES_ALIKE = 1
LOOKED_UP = 8
"""Records of a slot and kind whose providers are looked up, where there are more."""
TRAINED = ("checkpoint", "resume")
"""Kinds of content that newer ones supersede."""

ProviderNetworks = Mapping[Author, str]
"""Peers that serve a content or announce a record, and the network of each: "" when unknown."""


@dataclass(frozen=True)
class Stored:
    """A content in the store, whole or in part."""

    content: bytes
    kind: str
    """The kind in its manifest; "" where that is damaged."""
    named: bool
    """Whether a head or resume state that is known names it."""
    last_use: float
    """When it was wanted or used last, in Unix seconds."""
    left: bool = False
    """Whether only a run that this home has left names it."""
    size: int = 0
    """Bytes of it that are here."""


@dataclass(frozen=True)
class Thin:
    """A content worth copying, and how many peers provide it."""

    content: bytes
    providers: int


def content_limit(run: RunManifest, record: Head | Resume) -> int:
    """Bytes that what a record names can have at most."""
    limit = run.resume_limit if isinstance(record, Resume) else run.checkpoint_limit
    return limit(record.expert)


def possible_heads(run: RunManifest, heads: Iterable[Head]) -> list[Head]:
    """Heads of a slot that count, the best first. One that claims more bytes than its kind can have
    does not."""
    return ranked_heads((head for head in heads if _fits(run, head)), run.publishers)


def possible_resumes(run: RunManifest, resumes: Iterable[Resume]) -> list[Resume]:
    """Likewise resume states."""
    return ranked_resumes((one for one in resumes if _fits(run, one)), run.publishers)


def wanted_content(
    run: RunManifest,
    heads: HeadBook,
    resumes: RecordBook[Resume],
    providers: Mapping[bytes, ProviderNetworks],
    counts: Callable[[Head | Resume], bool] = lambda record: True,
) -> dict[bytes, int]:
    """What the swarm should keep, each with the bytes that it can have at most.

    The run's own content, and of each slot the heads and resume states that have a place. More than
    one, so that one that is worthless does not displace the others. Only records that `counts`
    accepts and whose content has `providers` are looked at.
    (The run record itself is one chunk that every peer of the run holds anyway.)
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
    """Which of `records`, the best first, have a place: at most `most`, shared out by network.

    One after the other takes the place of a network that serves it: its author's own, else one that
    is no author's own, else the busiest, since honest peers copy what others flood them with. Where
    this gives fewer than `alike`, the best of the others make up for it.
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
    """Those of a slot's ranked records whose providers to look up, as they are announced.

    What nobody gave when it was wanted last comes after the others.
    """
    later = sorted(records, key=lambda record: record.manifest in unserved)
    return shared_out(later, origins, LOOKED_UP, LOOKED_UP)


def own_content(author: Author, heads: HeadBook, resumes: RecordBook[Resume]) -> set[bytes]:
    """What an author published last in every slot."""
    return {head.manifest for head in heads.all() if head.author == author} | {
        resume.manifest for resume in resumes.all() if resume.author == author
    }


def worth_copying(
    missing: Set[bytes],
    begun: Container[bytes],
    providers: Mapping[bytes, int],
    replicas: int | None,
) -> list[Thin]:
    """Which of the `missing` contents this peer should copy, the thinnest first.

    Those with fewer than `replicas` providers (None: all of them), and those that are here in part:
    damaged, or not fetched to the end. Content that nobody provides is left out: there is nowhere
    to fetch it from.
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
    """Contents to let go: superseded, and of no use since `before`. The longest unused first."""
    return _gone(
        item
        for item in stored
        if not item.named and not item.left and _is_trained(item) and _may_go(item, keep, before)
    )


def left(stored: Iterable[Stored], keep: Container[bytes], before: float) -> list[bytes]:
    """Likewise those of runs that were left, to let go where room is needed.

    So is what nothing names and no newer one supersedes: nobody can tell what it is for.
    """
    return _gone(
        item
        for item in stored
        if not item.named and (item.left or not _is_trained(item)) and _may_go(item, keep, before)
    )


def outranked(stored: Iterable[Stored], keep: Container[bytes], before: float) -> list[bytes]:
    """Likewise those that are outranked."""
    return _gone(item for item in stored if item.named and _may_go(item, keep, before))


def to_evict(
    others: Mapping[bytes, int], sizes: Mapping[bytes, int], least: Mapping[bytes, int], needed: int
) -> list[bytes]:
    """Which current contents to do without so that `needed` bytes become free; the fewest that do.

    Only those that at least so many others provide, the most provided first. Nothing where all
    of them together are not enough: then it would be for nothing.
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
    """Bytes that each run takes, from the contents that it names and the bytes of each that are
    here. What several runs name counts in equal parts."""
    sharers = Counter(content for contents in named.values() for content in contents)
    return {
        run: sum((Fraction(sizes.get(one, 0), sharers[one]) for one in contents), Fraction())
        for run, contents in named.items()
    }


def yielding(
    taken: Mapping[bytes, Fraction], quota: int, asker: bytes | None, size: int
) -> set[bytes]:
    """The runs whose content may go so that `asker` gets `size` bytes more.

    Each run is entitled to an equal share of the quota. One that would stay within its share may
    have content let go of runs that are over theirs; one that would not, only its own.
    Where nobody asks, for the quota is exceeded: those over their share, else all.
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


def _gone(items: Iterable[Stored]) -> list[bytes]:
    return [item.content for item in sorted(items, key=lambda item: (item.last_use, item.content))]
