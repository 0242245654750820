"""Letting content go: what is superseded after a grace, what others hold when room is needed.

Kept in any case: what this author published last in every slot, of whatever run; what is being
fetched; and every current content unless `replicas` other peers have just proven to hold it. What
else a run needs that this home has left goes where room is needed.

A current content is given up in two steps, so that the holders of one content who all need room do
not all drop it: each takes back its announcement, waits a random time, and looks who is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Set
from contextlib import asynccontextmanager, suppress
from functools import partial

from paris_p2p.errors import BadContent
from paris_p2p.peer.books.record_book import Record, RecordBook
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.transfer.proof_of_storage import proven_providers
from paris_p2p.peer.transfer.providers import best_here, wanted
from paris_p2p.peer.upkeep.retention import (
    Stored,
    left,
    outranked,
    own_content,
    superseded,
    to_spare,
)
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import Manifest
from paris_p2p.records.resume import Resume

log = logging.getLogger(__name__)

PERIOD = 60.0
GRACE = 15 * 60.0
"""Seconds that a superseded content stays: whoever is fetching it can finish."""
STRAY = 60 * 60.0
"""Seconds after which a chunk that no manifest names is what a killed process left."""
SETTLE = (2.0, 10.0)
"""Seconds, at random, between taking back an announcement and looking who is left."""

LetGo = Callable[[], Awaitable[object]]


async def collect(peer: Peer) -> None:
    """One round: let go what is superseded, and more where the quota is exceeded."""
    await _let_formers_go(peer, peer.heads)
    await _let_formers_go(peer, peer.resumes)
    keep = await asyncio.to_thread(_kept, peer)
    await asyncio.to_thread(_note_uses, peer, keep)
    for content in superseded(await _stored(peer), keep, peer.clock() - GRACE):
        await _drop(peer, content, "there is newer")
    await asyncio.to_thread(peer.blobs.sweep, _records(peer), peer.clock() - STRAY)
    if not await make_room(peer, 0, grace=GRACE):
        await spare(peer, 0)


async def make_room(peer: Peer, size: int, grace: float = 0.0) -> bool:
    """Let go what nobody should miss until `size` more bytes fit into the quota; whether they do.

    First what is superseded, then files that can be made again, then what runs that were left are
    made of, then what is outranked; of these contents only what was of no use for `grace` seconds.
    """
    if await has_room(peer, size):
        return True
    for _, let_go in await _dispensable(peer, peer.clock() - grace):
        await let_go()
        if await has_room(peer, size):
            return True
    return False


async def make_room_for(peer: Peer, size: int, *, sparing: bool) -> bool:
    """As `make_room` and, `sparing`, `spare` would, or let go nothing where both are not enough."""
    if not await can_make_room(peer, size, sparing=sparing):
        return False
    return await make_room(peer, size, GRACE) or (sparing and await spare(peer, size))


async def can_make_room(peer: Peer, size: int, *, sparing: bool) -> bool:
    """Whether `make_room_for` would, by what is known of who holds what else."""
    needed = size - await _room(peer)
    if needed > 0:
        needed -= sum(bytes for bytes, _ in await _dispensable(peer, peer.clock() - GRACE))
    if needed > 0 and sparing:
        sizes = await asyncio.to_thread(_current_sizes, peer)
        others = {content: _known_others(peer, content) for content in sizes}
        return bool(to_spare(others, sizes, peer.config.replicas, needed))
    return needed <= 0


async def spare(peer: Peer, size: int) -> bool:
    """Let go current contents that others hold until `size` more bytes fit; whether they do."""
    others, sizes = await _spareable(peer)
    needed = size - await _room(peer)
    for content in to_spare(others, sizes, peer.config.replicas, needed):
        await _spare(peer, content)
    return await has_room(peer, size)


async def has_room(peer: Peer, size: int) -> bool:
    """Whether `size` more bytes fit into the quota, with all that is promised room there."""
    return await _room(peer) >= size


async def _room(peer: Peer) -> int:
    """Bytes that the quota has left; less than none where it is exceeded."""
    spoken_for = sum(promise.size for promise in peer.promises)
    return peer.config.store_quota - await asyncio.to_thread(peer.blobs.usage) - spoken_for


async def _let_formers_go(peer: Peer, book: RecordBook[Record]) -> None:
    """What authors published before counts no more once enough peers prove to hold their newest."""
    for former, newest in book.formers():
        here = await asyncio.to_thread(peer.blobs.complete, newest.manifest)
        replicas = peer.config.replicas
        if here or await proven_providers(peer, newest.manifest, replicas) >= replicas:
            book.let_go(former)


async def _dispensable(peer: Peer, before: float) -> list[tuple[int, LetGo]]:
    """What to do one after the other until there is room, and how many bytes each gives."""
    keep, stored = await asyncio.to_thread(_kept, peer), await _stored(peer)
    sizes = {item.content: item.size for item in stored}

    def drops(contents: Iterable[bytes], why: str) -> list[tuple[int, LetGo]]:
        return [(sizes[content], partial(_drop, peer, content, why)) for content in contents]

    files = await asyncio.to_thread(_unused_files, peer)
    return [
        *drops(superseded(stored, keep, before), "there is newer"),
        *((size, partial(peer.let_go_file, content, unused)) for size, content, unused in files),
        *drops(left(stored, keep, before), "its run was left"),
        *drops(outranked(stored, keep, before), "there is better"),
    ]


async def _spare(peer: Peer, content: bytes) -> None:
    """Drop a current content, unless too few hold it once this peer has stopped saying it does."""
    async with _given_up(peer, content):
        await asyncio.sleep(peer.rng.uniform(*SETTLE))
        replicas = peer.config.replicas
        enough = await proven_providers(peer, content, replicas) >= replicas
        if enough and await peer.let_go(content):
            log.info("made room: others hold %s", content.hex()[:12])
        else:
            await peer.announcer.content(content)


async def _drop(peer: Peer, content: bytes, why: str) -> None:
    """Drop a content that nobody should miss, unless somebody has begun to use it."""
    if content in peer.in_use():
        return
    async with _given_up(peer, content):
        if await peer.let_go(content):
            log.info("let go %s: %s", content.hex()[:12], why)
        elif await asyncio.to_thread(peer.blobs.complete, content):
            await peer.announcer.content(content)


@asynccontextmanager
async def _given_up(peer: Peer, content: bytes) -> AsyncIterator[None]:
    """What was announced is taken back; whoever is interrupted inside may have kept it."""
    try:
        await peer.announcer.give_up(content)
        yield
    except BaseException:
        peer.announcer.keep(content)
        raise


async def _stored(peer: Peer) -> list[Stored]:
    return await asyncio.to_thread(lambda: list(_read_stored(peer)))


def _read_stored(peer: Peer) -> Iterator[Stored]:
    heads = {head.manifest for head in peer.heads.all()}
    named = heads | {resume.manifest for resume in peer.resumes.all()} | peer.run.content_ids()
    elsewhere = peer.left_runs.contents() - named
    for content, last_use in peer.blobs.known().items():
        manifest = peer.blobs.manifest(content)
        yield Stored(
            content,
            manifest.kind if manifest else "",
            content in named,
            last_use,
            content in elsewhere,
            _bytes_here(peer, manifest) if manifest else 0,
        )


def _bytes_here(peer: Peer, manifest: Manifest) -> int:
    missing = set(peer.blobs.missing(manifest))
    return sum(
        manifest.length(i) for i, chunk in enumerate(manifest.chunks) if chunk not in missing
    )


def _kept(peer: Peer) -> set[bytes]:
    """Contents that are not let go: what is wanted, the best of what is really here, and own work.

    The best of what is here too, because a record that ranks first may name nothing real.
    """
    here = {content for content in peer.blobs.known() if peer.blobs.complete(content)}
    current = wanted(peer).keys() | best_here(peer, here).keys()
    return current | _own(peer) | peer.in_use()


async def _spareable(peer: Peer) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Current contents that are here as a whole and not this peer's own: how many others provide
    each, and its bytes."""
    sizes = await asyncio.to_thread(_current_sizes, peer)
    found = await asyncio.gather(*(peer.fetcher.providers(content) for content in sizes))
    return {content: len(by) for content, by in zip(sizes, found, strict=True)}, sizes


def _known_others(peer: Peer, content: bytes) -> int:
    return len(peer.providers.get(content, {}).keys() - {peer.identity.author})


def _current_sizes(peer: Peer) -> dict[bytes, int]:
    candidates = _kept(peer) - _own(peer) - peer.in_use()
    manifests = {content: peer.blobs.manifest(content) for content in candidates}
    return {
        content: manifest.size
        for content, manifest in manifests.items()
        if manifest is not None and not peer.blobs.missing(manifest)
    }


def _own(peer: Peer) -> set[bytes]:
    """What this author published last in every slot, of this run and of others in this home."""
    author, runs = peer.identity.author, peer.home.runs_dir
    own = own_content(author, peer.heads, peer.resumes)
    for path in runs.rglob(f"*-{author.hex()}.{Head.KIND}"):
        with suppress(BadContent, OSError):
            own.add(Head.unseal(path.read_bytes()).manifest)
    for path in runs.rglob(f"*-{author.hex()}.{Resume.KIND}"):
        with suppress(BadContent, OSError):
            own.add(Resume.unseal(path.read_bytes()).manifest)
    return own


def _note_uses(peer: Peer, keep: Set[bytes]) -> None:
    """Remember on disk that these are of use now: the grace of what is not counts from here."""
    now = peer.clock()
    for content in keep:
        peer.blobs.note_use(content, now)


def _unused_files(peer: Peer) -> list[tuple[int, bytes, float]]:
    """Bytes and contents of made files that nothing uses and nothing did for GRACE seconds, and
    since when they must not have been; the longest unused first."""
    used, busy = peer.blobs.files(), peer.in_use()
    before = peer.clock() - GRACE
    unused = sorted(
        (content for content in used.keys() - busy if used[content] < before), key=used.__getitem__
    )
    manifests = [(content, peer.blobs.manifest(content)) for content in unused]
    return [(made.size if made else 0, content, before) for content, made in manifests]


def _records(peer: Peer) -> set[bytes]:
    """Chunks that are records of runs, and so of no file."""
    return {peer.run_id, *peer.left_runs.ids()}
