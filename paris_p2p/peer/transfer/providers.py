"""The providers of content that this peer may keep, and their networks: looked up and kept.

Only a few records of each slot are looked up, since anyone can sign some. `retention` chooses them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from paris_p2p.identity import Author
from paris_p2p.peer.books.record_book import Record, RecordBook
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.transfer.proof_of_storage import is_served
from paris_p2p.peer.upkeep.retention import (
    LOOKED_UP,
    ProviderNetworks,
    possible_heads,
    possible_resumes,
    wanted_content,
    worth_looking_up,
)

UNSERVED = 600.0
"""Seconds for which content that no provider sent comes after other content."""


async def learn_providers(membership: Membership) -> None:
    """Look up the providers of the run's content, and of records that may be worth keeping.

    The result is in `membership.providers`. This peer is a provider of the content that it holds.
    """
    _forget_unserved(membership)
    run, contents = membership.run, set(membership.run.content_ids())
    for slot in run.slots():
        heads = await _worth_looking_up(
            membership, membership.heads, possible_heads(run, membership.heads.of(slot))
        )
        resumes = await _worth_looking_up(
            membership, membership.resumes, possible_resumes(run, membership.resumes.of(slot))
        )
        contents |= {head.manifest for head in heads} | {resume.manifest for resume in resumes}
    ordered = sorted(contents)
    found = await asyncio.gather(*(_origins(membership, content) for content in ordered))
    membership.providers.clear()
    membership.providers.update(zip(ordered, found, strict=True))


def wanted(membership: Membership) -> dict[bytes, int]:
    """The contents that the swarm should keep, by this peer's knowledge; see `wanted_content`."""
    return wanted_content(
        membership.run,
        membership.heads,
        membership.resumes,
        membership.providers,
        membership.counts,
    )


def best_here(membership: Membership, here: Iterable[bytes]) -> dict[bytes, int]:
    """The contents that should be kept if there were only those `here`.

    Content that no other peer is known to serve gets a place, too.
    """
    mine = {membership.node.identity.author: ""}
    providers = {content: membership.providers.get(content) or mine for content in here}
    return wanted_content(
        membership.run, membership.heads, membership.resumes, providers, membership.counts
    )


async def served_only(membership: Membership, contents: Sequence[bytes]) -> set[bytes]:
    """The `contents` that another peer serves. The others are noted as unserved.

    The run's own contents are not asked for: its web servers may have them.
    """
    asked = [content for content in contents if content not in membership.run.content_ids()]
    answers = await asyncio.gather(*(is_served(membership, content) for content in asked))
    for content, is_there in zip(asked, answers, strict=True):
        if not is_there:
            note_unserved(membership, content)
    return {content for content in contents if content not in membership.unserved}


def note_unserved(membership: Membership, content: bytes) -> None:
    """Note that no announced provider sent a content. It gets no place until one does."""
    membership.unserved[content] = membership.node.clock()
    membership.providers.pop(content, None)


def _forget_unserved(membership: Membership) -> None:
    now = membership.node.clock()
    for content, since in list(membership.unserved.items()):
        if not since <= now < since + UNSERVED:
            del membership.unserved[content]


async def _worth_looking_up(
    membership: Membership, book: RecordBook[Record], ranked: list[Record]
) -> list[Record]:
    counting = [record for record in ranked if membership.counts(record)]
    if len(counting) <= LOOKED_UP:
        return counting
    origins = {record: await _networks(membership, book.announcers(record)) for record in counting}
    return worth_looking_up(counting, origins, membership.unserved)


async def _origins(membership: Membership, content: bytes) -> ProviderNetworks:
    sources = await membership.fetcher.providers(content)
    others = await _networks(membership, (source.author for source in sources))
    here = await asyncio.to_thread(membership.node.blobs.complete, content)
    return {**others, membership.node.identity.author: ""} if here else others


async def _networks(membership: Membership, authors: Iterable[Author]) -> ProviderNetworks:
    return {author: await membership.swarm.network_of(author) for author in authors}
