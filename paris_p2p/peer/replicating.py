"""Keeping a run's content at enough providers: notice what is thin, fetch it, serve it.

Each peer decides alone, from the number of providers it sees and a random back-off, so that a
hundred peers do not all copy the same shard at once. Copies for others stop at the quota; where
something thin does not fit, content that enough others hold makes room (see `collecting`).

Providers can be made up, and whoever announced a few of them for everything would keep everybody
from copying. So now and then a peer asks the providers of one content to prove that they hold it.

A seed has its disk to give and nothing else: it copies everything the run wants, however many hold
it already, the thinnest first and without a wait, until its quota is used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.peer.collecting import GRACE, make_room, spare
from paris_p2p.peer.keeping import Thin, wanted_content, worth_copying
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.proving import proven_providers
from paris_p2p.peer.resumes import learn_resumes

log = logging.getLogger(__name__)

PERIOD = 30.0
FIRST = 3.0
"""Seconds after joining until the first look."""
MAX_BACKOFF = 4.0
DOUBT = 0.05
"""Share of rounds in which the providers of one content are asked for proof: every ten minutes."""
PATIENCE = 20.0
"""Seconds without a byte after which a copy is left for the next round."""


async def replicate(peer: Peer) -> None:
    """One round: look at what the run wants, copy what is thin, announce it.

    Raises DiskFull when the disk is full before the quota is.
    """
    await peer.survey()
    await learn_resumes(peer, peer.run.slots())
    wanted = wanted_content(peer.run, peer.heads, peer.resumes)
    worth = await _worth_copying(peer, wanted)
    for thin in worth:
        await asyncio.sleep(0 if peer.config.seed_only else peer.rng.uniform(0, MAX_BACKOFF))
        if await _worth_copying(peer, {thin.content}):
            await _copy(peer, thin)
    if peer.rng.random() < DOUBT:
        await _doubt_one(peer, wanted - {thin.content for thin in worth})


async def _doubt_one(peer: Peer, contents: Set[bytes]) -> None:
    """Copy one content that seems to have enough providers, unless they prove it."""
    here = await asyncio.to_thread(_here, peer, contents)
    missing = sorted(contents - here.keys())
    if not missing:
        return
    content, replicas = peer.rng.choice(missing), peer.config.replicas
    proven = await proven_providers(peer, content, replicas)
    if 0 < proven < replicas:
        await _copy(peer, Thin(content, proven))


async def _worth_copying(peer: Peer, wanted: Set[bytes]) -> list[Thin]:
    """What to copy of these, the thinnest first, equals in random order."""
    here = await asyncio.to_thread(_here, peer, wanted)
    missing = {content for content in wanted if not here.get(content)}
    found = await asyncio.gather(*(peer.fetcher.providers(content) for content in missing))
    providers = {content: len(sources) for content, sources in zip(missing, found, strict=True)}
    replicas = None if peer.config.seed_only else peer.config.replicas
    worth = worth_copying(missing, set(here), providers, replicas)
    peer.rng.shuffle(worth)
    return sorted(worth, key=lambda thin: thin.providers)


def _here(peer: Peer, contents: Set[bytes]) -> dict[bytes, bool]:
    """Those of which something is in the store, and whether all is."""
    known = peer.blobs.known()
    return {content: peer.blobs.complete(content) for content in contents if content in known}


async def _copy(peer: Peer, thin: Thin) -> None:
    """Fetch one content and announce it, where that is possible now and within the quota."""
    room = await _room_for(peer, thin)
    if room <= 0:
        return
    try:
        await peer.fetch(thin.content, most=room, patience=PATIENCE)
    except (NotAvailable, BadContent) as error:
        log.warning("could not copy %s: %s", thin.content.hex()[:12], error)
    else:
        await peer.announcer.content(thin.content)


async def _room_for(peer: Peer, thin: Thin) -> int:
    """Bytes that the whole content may have; 0 when the rest of it does not fit in any way."""
    present, absent = await asyncio.to_thread(_extent, peer, thin.content)
    fits = await make_room(peer, absent, grace=GRACE)
    if not fits and thin.providers < peer.config.replicas:
        fits = await spare(peer, absent)
    if not fits:
        return 0
    return peer.config.store_quota - await asyncio.to_thread(peer.blobs.usage) + present


def _extent(peer: Peer, content: bytes) -> tuple[int, int]:
    """Bytes of a content that are here, and that are not.

    By its manifest, else by the records that name it; one byte where nothing tells.
    """
    manifest = peer.blobs.manifest(content)
    if manifest is not None:
        missing = set(peer.blobs.missing(manifest))
        here = [i for i, chunk in enumerate(manifest.chunks) if chunk not in missing]
        present = sum(map(manifest.length, here))
        return present, manifest.size - present
    sizes = [head.size for head in peer.heads.all() if head.manifest == content]
    sizes += [resume.size for resume in peer.resumes.all() if resume.manifest == content]
    return 0, max(sizes, default=1)
