"""Deleting superseded content after a grace, and evicting other content when room is needed.

Some content is always kept: the newest work of this author in every slot of every run, content in
use, and current content. Current content is evicted only if `replicas` other peers have just proven
to hold it, or one if its run takes more than its share (`yielding`). Other content of a run that
this home has left is deleted on leaving, or when room is needed.

Holders of the same current content may all need room. So that they do not all drop it, a peer
evicts in two steps: it withdraws its provider record, waits a random time, and counts the
remaining providers.
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
"""Seconds that superseded content stays, so that peers can finish fetching it."""
STRAY = 60 * 60.0
"""Seconds after which a chunk that no manifest names counts as left by a killed process."""
SETTLE = (2.0, 10.0)
"""Range of the random seconds between withdrawing a provider record and counting providers."""

LetGo = Callable[[], Awaitable[object]]


async def collect(node: Node[Membership]) -> None:
    """One round: delete superseded content, and evict more if the quota is exceeded."""
    for membership in list(node.memberships.values()):
        await _let_formers_go(membership, membership.heads)
        await _let_formers_go(membership, membership.resumes)
    keep = await asyncio.to_thread(kept_contents, node)
    await asyncio.to_thread(_note_uses, node, keep)
    stored = await asyncio.to_thread(stored_contents, node)
    for content in superseded(stored, keep, node.clock() - GRACE):
        await _drop(node, content, "superseded")
    await asyncio.to_thread(node.blobs.sweep, run_records(node), node.clock() - STRAY)
    if not await make_room(node, 0, grace=GRACE):
        await evict(node, 0)


async def make_room(
    node: Node[Membership], size: int, asker: Membership | None = None, grace: float = 0.0
) -> bool:
    """Drop dispensable data until `size` more bytes fit into the quota. Returns whether they fit.

    The order is superseded content, files that can be made again, content of left runs, outranked
    content. Content must be unused for `grace` seconds.

    asker : the membership that needs the room, which decides whose content may go (see `yielding`);
        None if the quota is exceeded.
    """
    if await has_room(node, size):
        return True
    for _, let_go in await _dispensable(node, size, asker, node.clock() - grace):
        await let_go()
        if await has_room(node, size):
            return True
    return False


async def make_room_for(asker: Membership, size: int, *, evicting: bool) -> bool:
    """Like `make_room` and, with `evicting`, `evict`. Drops nothing if both are not enough."""
    if not await can_make_room(asker, size, evicting=evicting):
        return False
    node = asker.node
    return await make_room(node, size, asker, GRACE) or (
        evicting and await evict(node, size, asker)
    )


async def can_make_room(asker: Membership, size: int, *, evicting: bool) -> bool:
    """Whether `make_room_for` would succeed, by the known providers."""
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
    """Evict current contents that others hold until `size` more bytes fit. Returns whether."""
    sizes, least = await asyncio.to_thread(_evictable, node, size, asker)
    counts = await asyncio.gather(*(_others(node, content) for content in sizes))
    needed = size - await _room(node)
    for content in to_evict(dict(zip(sizes, counts, strict=True)), sizes, least, needed):
        await _evict(node, content, least[content])
    return await has_room(node, size)


async def has_room(node: Node[Membership], size: int) -> bool:
    """Whether `size` more bytes fit into the quota beside all promises."""
    return await _room(node) >= size


async def free_left(node: Node[Membership], run_id: bytes) -> None:
    """Delete content that only a left run needs, except this author's newest work."""
    needed = await asyncio.to_thread(needed_by_left, node, run_id)
    for content in sorted(needed):
        await _drop(node, content, "its run was left")


async def _room(node: Node[Membership]) -> int:
    """Free bytes of the quota; negative if it is exceeded."""
    spoken_for = sum(promise.size for promise in node.promises)
    return node.config.store_quota - await asyncio.to_thread(node.blobs.usage) - spoken_for


async def _let_formers_go(membership: Membership, book: RecordBook[Record]) -> None:
    """Delete former records whose successor's content is here, or proven at enough peers."""
    node = membership.node
    for former, newest in book.formers():
        here = await asyncio.to_thread(node.blobs.complete, newest.manifest)
        replicas = node.config.replicas
        if here or await proven_providers(membership, newest.manifest, replicas) >= replicas:
            book.let_go(former)


async def _dispensable(
    node: Node[Membership], size: int, asker: Membership | None, before: float
) -> list[tuple[int, LetGo]]:
    """The actions that make room, in order, each with the bytes that it frees."""
    keep = await asyncio.to_thread(kept_contents, node)
    stored = await asyncio.to_thread(stored_contents, node)
    sizes = {item.content: item.size for item in stored}
    may_go = await asyncio.to_thread(_may_go, node, size, asker)

    def drops(contents: Iterable[bytes], why: str) -> list[tuple[int, LetGo]]:
        return [(sizes[content], partial(_drop, node, content, why)) for content in contents]

    unused = node.clock() - GRACE
    files = await asyncio.to_thread(unused_files, node, unused)
    return [
        *drops(superseded(stored, keep, before), "superseded"),
        *((size, partial(node.let_go_file, content, unused)) for size, content in files),
        *drops(left(stored, keep, before), "its run was left"),
        *drops(filter(may_go, outranked(stored, keep, before)), "outranked"),
    ]


async def _evict(node: Node[Membership], content: bytes, least: int) -> None:
    """Drop a current content, unless too few peers prove to hold it after the withdrawal."""
    async with _given_up(node, content) as tellers:
        await asyncio.sleep(node.rng.uniform(*SETTLE))
        proven = [await proven_providers(one, content, least) for one in naming(node, content)]
        if min(proven, default=least) >= least and await node.let_go(content):
            log.info("evicted %s: others hold it", content.hex()[:12])
        else:
            await _announce_again(tellers, content)


async def _drop(node: Node[Membership], content: bytes, why: str) -> None:
    """Drop a dispensable content, unless it is in use."""
    if content in node.in_use:
        return
    async with _given_up(node, content) as tellers:
        if await node.let_go(content):
            log.info("deleted %s: %s", content.hex()[:12], why)
        elif await asyncio.to_thread(node.blobs.complete, content):
            await _announce_again(tellers, content)


@asynccontextmanager
async def _given_up(node: Node[Membership], content: bytes) -> AsyncIterator[list[Membership]]:
    """Withdraw the announcements of a content. An error inside allows them again.

    Yields the memberships that had announced it.
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
    """Returns a check whether a content may go for `asker`: all runs that name it must yield."""
    named = {run_id: one.contents() for run_id, one in node.memberships.items()}
    sizes = {content: size_here(node, content) for content in node.blobs.known()}
    quota, asking = node.config.store_quota, asker.run_id if asker is not None else None
    runs = yielding(bytes_taken(named, sizes), quota, asking, size)
    return lambda content: {run for run, contents in named.items() if content in contents} <= runs


def _evictable(
    node: Node[Membership], size: int, asker: Membership | None
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Complete current contents that may go for `asker` and are not this author's own.

    Returns the bytes of each, and how many others must hold it: `replicas`, but only one for the
    content of another run that takes more than its share.
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
    """The number of other providers of a content: the least over the runs that name it."""
    runs = naming(node, content)
    found = await asyncio.gather(*(one.fetcher.providers(content) for one in runs))
    return min(map(len, found), default=0)


def _known_others(node: Node[Membership], content: bytes) -> int:
    """Like `_others`, at the last look-up."""
    own = {node.identity.author}
    found = [one.providers.get(content, {}).keys() - own for one in naming(node, content)]
    return min(map(len, found), default=0)


def _note_uses(node: Node[Membership], keep: Set[bytes]) -> None:
    """Note on disk that these contents are of use now. A grace counts from the last note."""
    now = node.clock()
    for content in keep:
        node.blobs.note_use(content, now)
