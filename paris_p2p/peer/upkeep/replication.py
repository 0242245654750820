"""Keeping enough providers of a run's content: notice thin content, fetch it, serve it.

Each peer decides alone, from the number of providers that it sees and a random back-off, so that a
hundred peers do not copy the same shard at once. Copies stop at the quota. If thin content does not
fit, content that enough others hold makes room (see `garbage_collection`).

Providers can be faked: a few false ones for every content would stop all copying. So now and then a
peer asks the providers of one content to prove that they hold it.

A seed only gives its disk. It copies everything that the run wants, with any number of providers,
the thinnest first and without back-off, until its quota is used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TypeVar

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.books.resume_states import learn_resumes
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node, Promise
from paris_p2p.peer.transfer.proof_of_storage import proven_providers
from paris_p2p.peer.transfer.providers import learn_providers, note_unserved, served_only, wanted
from paris_p2p.peer.transfer.racing import LeastPace, Pace, TooSlow
from paris_p2p.peer.upkeep.retention import Thin, worth_copying
from paris_p2p.peer.upkeep.store_quota import NoRoom, may_have_room, room_for

log = logging.getLogger(__name__)

PERIOD = 30.0
FIRST = 3.0
"""Seconds after joining until the first look."""
MAX_BACKOFF = 4.0
DOUBT = 0.05
"""Share of rounds in which the providers of one content must prove it: every ten minutes."""
PATIENCE = 20.0
"""Seconds without a byte after which a copy is left for the next round."""
LEAST = LeastPace(look=30.0, rate=64 * 1024.0)
"""The least pace of a copy. A slower one is left for other content for a while."""
AT_ONCE = 2
"""Contents copied at the same time."""
LOOKS = 4
"""Most times in a round that the wanted content is worked out, without content that nobody sent."""


async def replicate(node: Node[Membership]) -> None:
    """One round: look at the contents that the runs want, copy the thin ones, announce them.

    The runs take turns, so that none waits for all copies of another. If a run cannot be looked at,
    its error is raised after the copies of the others.

    Raises DiskFull if the disk is full before the quota is.
    """
    memberships = list(node.memberships.values())
    found = await asyncio.gather(*map(_look, memberships), return_exceptions=True)
    worth = [[] if isinstance(one, BaseException) else one for one in found]
    turns = iter(alternating(worth))
    copying = [asyncio.create_task(_copy_in_turn(turns)) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*copying)
    finally:
        await end_tasks(*copying)
    for membership, copies in zip(memberships, worth, strict=True):
        if node.rng.random() < DOUBT:
            copied = {copy.thin.content for copy in copies}
            await _challenge_one(membership, wanted(membership).keys() - copied)
    for one in found:
        if isinstance(one, BaseException):
            raise one


@dataclass(frozen=True)
class Copy:
    """A content worth copying for a run."""

    membership: Membership
    thin: Thin


T = TypeVar("T")


def alternating(several: Sequence[Sequence[T]]) -> list[T]:
    """The first item of each, then the second of each, and so on."""
    longest = max(map(len, several), default=0)
    return [items[turn] for turn in range(longest) for items in several if turn < len(items)]


async def _look(membership: Membership) -> list[Copy]:
    """The contents worth copying for a run, the thinnest first."""
    await membership.survey()
    await learn_resumes(membership, membership.run.slots())
    await learn_providers(membership)
    return [Copy(membership, thin) for thin in await _obtainable(membership)]


async def _copy_in_turn(turns: Iterator[Copy]) -> None:
    """Copy the next contents that are still thin, until there are no more."""
    for copy in turns:
        membership, content = copy.membership, copy.thin.content
        node = membership.node
        await asyncio.sleep(0 if node.config.seed_only else node.rng.uniform(0, MAX_BACKOFF))
        if await _is_still_thin(membership, content):
            await _copy(membership, content)


async def _obtainable(membership: Membership) -> list[Thin]:
    """The contents worth copying that a peer sends. Unserved ones leave their place to others."""
    for _ in range(LOOKS):
        worth = await _worth_copying(membership)
        there = await served_only(membership, [thin.content for thin in worth])
        if len(there) == len(worth):
            break
    return [thin for thin in worth if thin.content in there]


async def _worth_copying(membership: Membership) -> list[Thin]:
    """The contents to copy by their known providers, thinnest first, equals in random order."""
    contents = wanted(membership).keys()
    here = await asyncio.to_thread(_here, membership, contents)
    missing = {content for content in contents if not here.get(content)}
    others = {content: len(membership.providers.get(content, ())) for content in missing}
    worth = worth_copying(missing, here.keys(), others, _replicas(membership))
    membership.node.rng.shuffle(worth)
    return sorted(worth, key=lambda thin: thin.providers)


async def _is_still_thin(membership: Membership, content: bytes) -> bool:
    """Whether to copy a content still: others may have copied it, or its record may be gone."""
    if content not in wanted(membership):
        return False
    here = await asyncio.to_thread(_here, membership, {content})
    providers = {content: len(await membership.fetcher.providers(content))}
    missing = {content} if not here.get(content) else set[bytes]()
    return bool(worth_copying(missing, here.keys(), providers, _replicas(membership)))


async def _challenge_one(membership: Membership, contents: Set[bytes]) -> None:
    """Choose a content that seems to have enough providers. Copy it unless they prove it."""
    here = await asyncio.to_thread(_here, membership, contents)
    missing = sorted(contents - here.keys())
    if not missing:
        return
    content, replicas = membership.node.rng.choice(missing), membership.node.config.replicas
    if 0 < await proven_providers(membership, content, replicas) < replicas:
        await _copy(membership, content)


async def _copy(membership: Membership, content: bytes) -> None:
    """Fetch a content if there is room for it, and announce that this peer serves it."""
    most, thin = wanted(membership).get(content), _known_thin(membership, content)
    if most is None or not await may_have_room(membership, content, evicting=thin):
        return
    try:
        async with membership.node.using([content]):
            manifest = await membership.manifest(content, most, PATIENCE)
            async with room_for(membership, manifest, as_file=False, evicting=thin) as promise:
                await _fetch(membership, content, promise, most)
            await membership.announcer.content(content)
    except (NotAvailable, BadContent) as error:
        note_unserved(membership, content)
        log.warning("could not copy %s: %s", content.hex()[:12], error)
    except NoRoom as error:
        log.info("not copied: %s", error)


async def _fetch(membership: Membership, content: bytes, promise: Promise, most: int) -> None:
    """Fetch a content. TooSlow if it falls behind the least pace; received chunks are kept."""
    now = asyncio.get_running_loop().time()
    pace = Pace(_least(membership.node.config.download_limit), now)
    try:
        async with asyncio.timeout_at(pace.falls_behind_at()) as limit:

            def tell(have: int, total: int) -> None:
                promise.arrived(have, total)
                pace.told(have, total)
                if not limit.expired():
                    limit.reschedule(pace.falls_behind_at())

            await membership.fetch(content, tell, most, PATIENCE)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TooSlow("the download is too slow; other content comes first") from error


def _least(limit: int) -> LeastPace:
    """The least pace, no faster than the download `limit` allows (bytes a second; 0 for none)."""
    return replace(LEAST, rate=min(LEAST.rate, limit / AT_ONCE / 2)) if limit else LEAST


def _known_thin(membership: Membership, content: bytes) -> bool:
    return len(membership.providers.get(content, ())) < membership.node.config.replicas


def _replicas(membership: Membership) -> int | None:
    return None if membership.node.config.seed_only else membership.node.config.replicas


def _here(membership: Membership, contents: Set[bytes]) -> dict[bytes, bool]:
    """The contents that are in the store at least in part; each with whether it is complete."""
    known = membership.node.blobs.known()
    return {
        content: membership.node.blobs.complete(content) for content in contents if content in known
    }
