"""Who serves what this peer may keep, and from which networks: looked up, and remembered.

Only of a few records of a slot, since anyone can sign some: `retention` says which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from paris_p2p.identity import Author
from paris_p2p.peer.books.record_book import Record, RecordBook
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.transfer.proof_of_storage import is_served
from paris_p2p.peer.upkeep.retention import (
    LOOKED_UP,
    Origins,
    possible_heads,
    possible_resumes,
    wanted_content,
    worth_looking_up,
)
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume

UNSERVED = 600.0
"""Seconds for which a content that nobody gave comes after those that somebody may have."""


async def learn_providers(peer: Peer) -> None:
    """Look up who serves the run's content and what records name that may be worth keeping.

    The answer is in `peer.providers`. This peer is among those who serve what it holds.
    """
    _forget_unserved(peer)
    run, contents = peer.run, set(peer.run.content_ids())
    for slot in run.slots():
        heads = await _worth_looking_up(peer, peer.heads, possible_heads(run, peer.heads.of(slot)))
        resumes = await _worth_looking_up(
            peer, peer.resumes, possible_resumes(run, peer.resumes.of(slot))
        )
        contents |= {head.manifest for head in heads} | {resume.manifest for resume in resumes}
    ordered = sorted(contents)
    found = await asyncio.gather(*(_origins(peer, content) for content in ordered))
    peer.providers.clear()
    peer.providers.update(zip(ordered, found, strict=True))


def wanted(peer: Peer) -> dict[bytes, int]:
    """What the swarm should keep by what this peer knows; see `wanted_content`."""
    return wanted_content(
        peer.run, peer.heads, peer.resumes, peer.providers, lambda one: _counts(peer, one)
    )


def best_here(peer: Peer, here: Iterable[bytes]) -> dict[bytes, int]:
    """What should be kept if there were nothing but what is `here`.

    A record that nobody else is known to serve any more has its place, too.
    """
    mine = {peer.identity.author: ""}
    providers = {content: peer.providers.get(content) or mine for content in here}
    return wanted_content(
        peer.run, peer.heads, peer.resumes, providers, lambda one: _counts(peer, one)
    )


async def served_only(peer: Peer, contents: Sequence[bytes]) -> set[bytes]:
    """Those of `contents` that some other peer sends a part of; the others are remembered.

    What the run is made of is not asked for: its web servers may have it where no peer has.
    """
    asked = [content for content in contents if content not in peer.run.content_ids()]
    answers = await asyncio.gather(*(is_served(peer, content) for content in asked))
    for content, is_there in zip(asked, answers, strict=True):
        if not is_there:
            note_unserved(peer, content)
    return {content for content in contents if content not in peer.unserved}


def note_unserved(peer: Peer, content: bytes) -> None:
    """Nobody gave a content that was announced: it has no place before somebody does."""
    peer.unserved[content] = peer.clock()
    peer.providers.pop(content, None)


def _forget_unserved(peer: Peer) -> None:
    now = peer.clock()
    for content, since in list(peer.unserved.items()):
        if not since <= now < since + UNSERVED:
            del peer.unserved[content]


def _counts(peer: Peer, record: Head | Resume) -> bool:
    return not peer.refusals.is_condemned(record.manifest, record.author)


async def _worth_looking_up(
    peer: Peer, book: RecordBook[Record], ranked: list[Record]
) -> list[Record]:
    counting = [record for record in ranked if _counts(peer, record)]
    if len(counting) <= LOOKED_UP:
        return counting
    origins = {record: await _networks(peer, book.announcers(record)) for record in counting}
    return worth_looking_up(counting, origins, peer.unserved)


async def _origins(peer: Peer, content: bytes) -> Origins:
    sources = await peer.fetcher.providers(content)
    others = await _networks(peer, (source.author for source in sources))
    here = await asyncio.to_thread(peer.blobs.complete, content)
    return {**others, peer.identity.author: ""} if here else others


async def _networks(peer: Peer, authors: Iterable[Author]) -> Origins:
    return {author: await peer.swarm.network_of(author) for author in authors}
