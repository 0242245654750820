"""Letting content go: what is superseded after a grace, what others hold when room is needed.

Kept in any case: what this author published last in every slot, of whatever run; what is being
fetched; and every current content unless `replicas` other peers have just proven to hold it, or one
where its run has more than its share (`yielding`). What else a run needs that this home has left
goes where room is needed, and at once when it is left.

A current content is given up in two steps, so that the holders of one content who all need room do
not all drop it: each takes back its announcement, waits a random time, and looks who is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence, Set
from contextlib import asynccontextmanager
from functools import partial

from paris_p2p.peer.books.record_book import Record, RecordBook
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.transfer.proof_of_storage import proven_providers
from paris_p2p.peer.upkeep.holdings import (
    kept_contents,
    naming,
    needed_by_left,
    own_contents,
    run_records,
    size_here,
    stored_contents,
    unused_files,
)
from paris_p2p.peer.upkeep.retention import (
    bytes_taken,
    left,
    outranked,
    superseded,
    to_evict,
    yielding,
)

log = logging.getLogger(__name__)

PERIOD = 60.0
GRACE = 15 * 60.0
"""Seconds that a superseded content stays: whoever is fetching it can finish."""
STRAY = 60 * 60.0
"""Seconds after which a chunk that no manifest names is what a killed process left."""
SETTLE = (2.0, 10.0)
"""Seconds, at random, between taking back an announcement and looking who is left."""

LetGo = Callable[[], Awaitable[object]]


async def collect(node: Node[Membership]) -> None:
    """One round: let go what is superseded, and more where the quota is exceeded."""
    for membership in list(node.memberships.values()):
        await _let_formers_go(membership, membership.heads)
        await _let_formers_go(membership, membership.resumes)
    keep = await asyncio.to_thread(kept_contents, node)
    await asyncio.to_thread(_note_uses, node, keep)
    stored = await asyncio.to_thread(stored_contents, node)
    for content in superseded(stored, keep, node.clock() - GRACE):
        await _drop(node, content, "there is newer")
    await asyncio.to_thread(node.blobs.sweep, run_records(node), node.clock() - STRAY)
    if not await make_room(node, 0, grace=GRACE):
        await evict(node, 0)


async def make_room(
    node: Node[Membership], size: int, asker: Membership | None = None, grace: float = 0.0
) -> bool:
    """Let go what nobody should miss until `size` more bytes fit into the quota; whether they do.

    First what is superseded, then files that can be made again, then what runs that were left are
    made of, then what is outranked; of these contents only what was of no use for `grace` seconds.
    `asker` is whom the room is for, None where the quota is exceeded: whose content may go depends
    on it (see `yielding`).
    """
    if await has_room(node, size):
        return True
    for _, let_go in await _dispensable(node, size, asker, node.clock() - grace):
        await let_go()
        if await has_room(node, size):
            return True
    return False


async def make_room_for(asker: Membership, size: int, *, evicting: bool) -> bool:
    """As `make_room` and, `evicting`, `evict`, or let go nothing where both are not enough."""
    if not await can_make_room(asker, size, evicting=evicting):
        return False
    node = asker.node
    return await make_room(node, size, asker, GRACE) or (
        evicting and await evict(node, size, asker)
    )


async def can_make_room(asker: Membership, size: int, *, evicting: bool) -> bool:
    """Whether `make_room_for` would, by what is known of who holds what else."""
    node = asker.node
    needed = size - await _room(node)
    if needed > 0:
        dispensable = await _dispensable(node, size, asker, node.clock() - GRACE)
        needed -= sum(bytes for bytes, _ in dispensable)
    if needed > 0 and evicting:
        sizes, least = await asyncio.to_thread(_evictable, node, size, asker)
        others = {content: _known_others(node, content) for content in sizes}
        return bool(to_evict(others, sizes, least, needed))
    return needed <= 0


async def evict(node: Node[Membership], size: int, asker: Membership | None = None) -> bool:
    """Let go current contents that others hold until `size` more bytes fit; whether they do."""
    sizes, least = await asyncio.to_thread(_evictable, node, size, asker)
    counts = await asyncio.gather(*(_others(node, content) for content in sizes))
    needed = size - await _room(node)
    for content in to_evict(dict(zip(sizes, counts, strict=True)), sizes, least, needed):
        await _evict(node, content, least[content])
    return await has_room(node, size)


async def has_room(node: Node[Membership], size: int) -> bool:
    """Whether `size` more bytes fit into the quota, with all that is promised room there."""
    return await _room(node) >= size


async def free_left(node: Node[Membership], run_id: bytes) -> None:
    """Let go at once what only a run needs that was left, but not what this author published."""
    needed = await asyncio.to_thread(needed_by_left, node, run_id)
    for content in sorted(needed):
        await _drop(node, content, "its run was left")


async def _room(node: Node[Membership]) -> int:
    """Bytes that the quota has left; less than none where it is exceeded."""
    spoken_for = sum(promise.size for promise in node.promises)
    return node.config.store_quota - await asyncio.to_thread(node.blobs.usage) - spoken_for


async def _let_formers_go(membership: Membership, book: RecordBook[Record]) -> None:
    """What authors published before counts no more once enough peers prove to hold their newest."""
    node = membership.node
    for former, newest in book.formers():
        here = await asyncio.to_thread(node.blobs.complete, newest.manifest)
        replicas = node.config.replicas
        if here or await proven_providers(membership, newest.manifest, replicas) >= replicas:
            book.let_go(former)


async def _dispensable(
    node: Node[Membership], size: int, asker: Membership | None, before: float
) -> list[tuple[int, LetGo]]:
    """What to do one after the other until there is room, and how many bytes each gives."""
    keep = await asyncio.to_thread(kept_contents, node)
    stored = await asyncio.to_thread(stored_contents, node)
    sizes = {item.content: item.size for item in stored}
    may_go = await asyncio.to_thread(_may_go, node, size, asker)

    def drops(contents: Iterable[bytes], why: str) -> list[tuple[int, LetGo]]:
        return [(sizes[content], partial(_drop, node, content, why)) for content in contents]

    unused = node.clock() - GRACE
    files = await asyncio.to_thread(unused_files, node, unused)
    return [
        *drops(superseded(stored, keep, before), "there is newer"),
        *((size, partial(node.let_go_file, content, unused)) for size, content in files),
        *drops(left(stored, keep, before), "its run was left"),
        *drops(filter(may_go, outranked(stored, keep, before)), "there is better"),
    ]


async def _evict(node: Node[Membership], content: bytes, least: int) -> None:
    """Drop a current content, unless too few hold it once this peer has stopped saying it does."""
    async with _given_up(node, content) as tellers:
        await asyncio.sleep(node.rng.uniform(*SETTLE))
        proven = [await proven_providers(one, content, least) for one in naming(node, content)]
        if min(proven, default=least) >= least and await node.let_go(content):
            log.info("made room: others hold %s", content.hex()[:12])
        else:
            await _announce_again(tellers, content)


async def _drop(node: Node[Membership], content: bytes, why: str) -> None:
    """Drop a content that nobody should miss, unless somebody has begun to use it."""
    if content in node.in_use:
        return
    async with _given_up(node, content) as tellers:
        if await node.let_go(content):
            log.info("let go %s: %s", content.hex()[:12], why)
        elif await asyncio.to_thread(node.blobs.complete, content):
            await _announce_again(tellers, content)


@asynccontextmanager
async def _given_up(node: Node[Membership], content: bytes) -> AsyncIterator[list[Membership]]:
    """What was announced is taken back; whoever is interrupted inside may have kept it.

    Yields those that had it announced.
    """
    memberships = list(node.memberships.values())
    tellers = [one for one in memberships if content in node.provider_records.of(one.run_id)]
    try:
        for one in memberships:
            await one.announcer.give_up(content)
        yield tellers
    except BaseException:
        for one in memberships:
            one.announcer.keep(content)
        raise


async def _announce_again(tellers: Sequence[Membership], content: bytes) -> None:
    for one in tellers:
        await one.announcer.content(content)


def _may_go(node: Node[Membership], size: int, asker: Membership | None) -> Callable[[bytes], bool]:
    """Whether a content may go so that `asker` gets so many bytes: all runs that name it yield."""
    named = {run_id: one.contents() for run_id, one in node.memberships.items()}
    sizes = {content: size_here(node, content) for content in node.blobs.known()}
    quota, asking = node.config.store_quota, asker.run_id if asker is not None else None
    runs = yielding(bytes_taken(named, sizes), quota, asking, size)
    return lambda content: {run for run, contents in named.items() if content in contents} <= runs


def _evictable(
    node: Node[Membership], size: int, asker: Membership | None
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Current contents that are here as a whole, may go for `asker` and are not this author's own.

    The bytes of each, and how many others have to hold it: as many as should, but only one where
    the run of another has more than its share.
    """
    may_go, replicas = _may_go(node, size, asker), node.config.replicas
    candidates = filter(may_go, kept_contents(node) - own_contents(node) - node.in_use.keys())
    manifests = {content: node.blobs.manifest(content) for content in candidates}
    sizes = {
        content: manifest.size
        for content, manifest in manifests.items()
        if manifest is not None and not node.blobs.missing(manifest)
    }
    is_own = {content: asker is None or asker.names(content) for content in sizes}
    return sizes, {content: replicas if is_own[content] else 1 for content in sizes}


async def _others(node: Node[Membership], content: bytes) -> int:
    """How many others provide a content, to each of the runs that name it."""
    runs = naming(node, content)
    found = await asyncio.gather(*(one.fetcher.providers(content) for one in runs))
    return min(map(len, found), default=0)


def _known_others(node: Node[Membership], content: bytes) -> int:
    """Likewise, as far as that was looked up."""
    own = {node.identity.author}
    found = [one.providers.get(content, {}).keys() - own for one in naming(node, content)]
    return min(map(len, found), default=0)


def _note_uses(node: Node[Membership], keep: Set[bytes]) -> None:
    """Remember on disk that these are of use now: the grace of what is not counts from here."""
    now = node.clock()
    for content in keep:
        node.blobs.note_use(content, now)
