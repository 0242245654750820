"""Letting content go: what is superseded after a grace, what others hold when room is needed.

Kept in any case: what this author published last in every slot, of whatever run; what is being
fetched; and every current content unless `replicas` other peers have just proven to hold it.

A current content is given up in two steps, so that the holders of one content who all need room do
not all drop it: each takes back its announcement, waits a random time, and looks who is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Set
from contextlib import suppress
from functools import partial

from paris_p2p.errors import BadContent
from paris_p2p.peer.keeping import (
    Stored,
    outranked,
    own_content,
    superseded,
    to_spare,
    wanted_content,
)
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.proving import proven_providers
from paris_p2p.peer.recordbook import Record, RecordBook
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume

log = logging.getLogger(__name__)

PERIOD = 60.0
GRACE = 15 * 60.0
"""Seconds that a superseded content stays: whoever is fetching it can finish."""
STRAY = 60 * 60.0
"""Seconds after which a chunk that no manifest names is what a killed process left."""
SETTLE = (2.0, 10.0)
"""Seconds, at random, between taking back an announcement and looking who is left."""


async def collect(peer: Peer) -> None:
    """One round: let go what is superseded, and more where the quota is exceeded."""
    await _let_formers_go(peer, peer.heads)
    await _let_formers_go(peer, peer.resumes)
    keep = await asyncio.to_thread(_kept, peer)
    await asyncio.to_thread(_note_uses, peer, keep)
    for content in superseded(await _stored(peer), keep, peer.clock() - GRACE):
        await _drop(peer, content)
    await asyncio.to_thread(peer.blobs.sweep, _records(peer), peer.clock() - STRAY)
    if not await make_room(peer, 0, grace=GRACE):
        await spare(peer, 0)


async def make_room(peer: Peer, size: int, grace: float = 0.0) -> bool:
    """Let go what nobody should miss until `size` more bytes fit into the quota; whether they do.

    First what is superseded, then files that can be made again, then what is outranked; of these
    contents only what was of no use for `grace` seconds.
    """
    if await _fits(peer, size):
        return True
    for let_go in await _dispensable(peer, peer.clock() - grace):
        await let_go()
        if await _fits(peer, size):
            return True
    return False


async def spare(peer: Peer, size: int) -> bool:
    """Let go current contents that others hold until `size` more bytes fit; whether they do."""
    candidates = await asyncio.to_thread(_spareable, peer)
    found = await asyncio.gather(*(peer.fetcher.providers(content) for content in candidates))
    others = {content: len(by) for content, by in zip(candidates, found, strict=True)}
    needed = await asyncio.to_thread(peer.blobs.usage) + size - peer.config.store_quota
    for content in to_spare(others, candidates, peer.config.replicas, needed):
        await _spare(peer, content)
    return await _fits(peer, size)


async def _let_formers_go(peer: Peer, book: RecordBook[Record]) -> None:
    """What authors published before counts no more once their newest is held by enough peers."""
    for former, newest in book.formers():
        here = await asyncio.to_thread(peer.blobs.complete, newest.manifest)
        others = await peer.fetcher.providers(newest.manifest)
        if here or len(others) >= peer.config.replicas:
            book.let_go(former)


async def _dispensable(peer: Peer, before: float) -> list[Callable[[], Awaitable[None]]]:
    """What to do one after the other until there is room."""
    keep, stored = await asyncio.to_thread(_kept, peer), await _stored(peer)
    files = await asyncio.to_thread(_unused_files, peer)
    return [
        *(partial(_drop, peer, content) for content in superseded(stored, keep, before)),
        *(partial(asyncio.to_thread, peer.blobs.drop_file, content) for content in files),
        *(partial(_drop, peer, content) for content in outranked(stored, keep, before)),
    ]


async def _spare(peer: Peer, content: bytes) -> None:
    """Drop a current content, unless too few hold it once this peer has stopped saying it does."""
    await peer.announcer.give_up(content)
    await asyncio.sleep(peer.rng.uniform(*SETTLE))
    replicas = peer.config.replicas
    enough = await proven_providers(peer, content, replicas) >= replicas
    if enough and content not in _in_use(peer):
        await asyncio.to_thread(peer.blobs.drop, content)
        log.info("made room: others hold %s", content.hex()[:12])
    else:
        await peer.announcer.content(content)


async def _drop(peer: Peer, content: bytes) -> None:
    """Drop a content that nobody should miss, unless somebody has begun to use it."""
    if content in _in_use(peer):
        return
    await peer.announcer.give_up(content)
    await asyncio.to_thread(peer.blobs.drop, content)
    log.info("let go %s: there is newer", content.hex()[:12])


async def _fits(peer: Peer, size: int) -> bool:
    return await asyncio.to_thread(peer.blobs.usage) + size <= peer.config.store_quota


async def _stored(peer: Peer) -> list[Stored]:
    return await asyncio.to_thread(lambda: list(_read_stored(peer)))


def _read_stored(peer: Peer) -> Iterator[Stored]:
    heads = {head.manifest for head in peer.heads.all()}
    named = heads | {resume.manifest for resume in peer.resumes.all()}
    for content, last_use in peer.blobs.known().items():
        manifest = peer.blobs.manifest(content)
        yield Stored(content, manifest.kind if manifest else "", content in named, last_use)


def _kept(peer: Peer) -> set[bytes]:
    """Contents that are not let go: what is wanted, the best of what is really here, and own work.

    The best of what is here too, because a record that ranks first may name nothing real.
    """
    here = {content for content in peer.blobs.known() if peer.blobs.complete(content)}
    wanted = wanted_content(peer.run, peer.heads, peer.resumes)
    best = wanted_content(peer.run, peer.heads, peer.resumes, here)
    return wanted | best | _own(peer) | _in_use(peer)


def _spareable(peer: Peer) -> dict[bytes, int]:
    """Current contents that are here as a whole and not this peer's own, with their bytes."""
    candidates = wanted_content(peer.run, peer.heads, peer.resumes) - _own(peer) - _in_use(peer)
    manifests = {content: peer.blobs.manifest(content) for content in candidates}
    return {
        content: manifest.size
        for content, manifest in manifests.items()
        if manifest is not None and not peer.blobs.missing(manifest)
    }


def _in_use(peer: Peer) -> set[bytes]:
    """Contents being fetched; while this peer trains, those that a run is made of too."""
    return set(peer.fetching) | (peer.run.content_ids() if peer.training else set())


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


def _unused_files(peer: Peer) -> list[bytes]:
    """Contents whose made file was not used for GRACE seconds, the longest unused first."""
    if peer.training:
        return []
    used = peer.blobs.files()
    before = peer.clock() - GRACE
    return sorted((content for content in used if used[content] < before), key=used.__getitem__)


def _records(peer: Peer) -> set[bytes]:
    """Chunks that are records of runs, and so of no file."""
    names = [path.name for path in peer.home.runs_dir.iterdir()]
    return {peer.run_id} | {bytes.fromhex(name) for name in names if _is_id(name)}


def _is_id(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
