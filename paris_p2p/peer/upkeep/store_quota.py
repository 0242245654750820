"""Reserving room in the quota for a fetch, and for the file that is made of the content.

The room is promised until the data is on the disk, so that two fetches do not count on the same
room. Nothing is evicted for content that still would not fit, or that no peer proves to hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from paris_p2p.errors import DiskFull, NotAvailable
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Promise
from paris_p2p.peer.transfer.proof_of_storage import proven_providers
from paris_p2p.peer.upkeep.garbage_collection import can_make_room, has_room, make_room_for
from paris_p2p.records.manifest import Manifest


class NoRoom(DiskFull):
    """The quota has no room, although the disk may have."""


@asynccontextmanager
async def room_for(
    membership: Membership, manifest: Manifest, *, as_file: bool, evicting: bool
) -> AsyncIterator[Promise]:
    """Reserve room inside the block for the missing part of a content.

    Parameters
    ----------
    as_file : reserve room for the file made of it, too.
    evicting : whether current contents that enough others hold may be evicted.

    Raises NoRoom if the quota has no room, NotAvailable if room would have to be made for content
    that no peer proves to hold.
    """
    absent, file = await asyncio.to_thread(_absent, membership, manifest, as_file)
    promise = Promise(absent, file)
    if not await _promised(membership, promise):
        async with membership.node.making_room:
            while not await _promised(membership, promise):
                await _make_room(membership, manifest, promise.size, absent > 0, evicting)
    try:
        yield promise
    finally:
        membership.node.promises.discard(promise)


async def may_have_room(membership: Membership, content: bytes, *, evicting: bool) -> bool:
    """Whether a content may fit, by the size in its manifest, or else in its records."""
    manifest = await asyncio.to_thread(membership.node.blobs.manifest, content)
    if manifest is not None:
        size, _ = await asyncio.to_thread(_absent, membership, manifest, False)
    else:
        size = max((record.size for record in membership.naming(content)), default=1)
    return await can_make_room(membership, size, evicting=evicting)


async def _promised(membership: Membership, promise: Promise) -> bool:
    """Promise the room if there is enough. Returns whether it was promised."""
    async with membership.node.admitting:
        fits = not promise.size or await has_room(membership.node, promise.size)
        if fits:
            membership.node.promises.add(promise)
        return fits


async def _make_room(
    membership: Membership, manifest: Manifest, size: int, needs_source: bool, evicting: bool
) -> None:
    name = manifest.id.hex()[:12]
    strangers = manifest.id not in membership.run.content_ids()
    if needs_source and strangers and not await proven_providers(membership, manifest.id, 1):
        raise NotAvailable(f"no peer proves that it holds {name}, and there is no room for it")
    if not await make_room_for(membership, size, evicting=evicting):
        raise NoRoom(
            f"{name} needs {_megabytes(size)} and the store's quota of "
            f"{_megabytes(membership.node.config.store_quota)} has no room for it",
            "set a larger store_quota in config.toml, or start the peer with --store-quota",
        )


def _absent(membership: Membership, manifest: Manifest, as_file: bool) -> tuple[int, int]:
    """Bytes of a content that are not here, and of its file if that is still to be made."""
    missing = set(membership.node.blobs.missing(manifest))
    lengths = {chunk: manifest.length(i) for i, chunk in enumerate(manifest.chunks)}
    is_made = not as_file or manifest.id in membership.node.blobs.files()
    return sum(lengths[chunk] for chunk in missing), 0 if is_made else manifest.size


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
