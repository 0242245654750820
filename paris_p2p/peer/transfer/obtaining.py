"""Content for use on this machine: fetched within the quota, announced, and made into a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Promise
from paris_p2p.peer.upkeep.retention import content_limit
from paris_p2p.peer.upkeep.store_quota import room_for
from paris_p2p.records.head import Head
from paris_p2p.store.chunks import MissingChunk


async def obtain(
    membership: Membership,
    contents: Sequence[bytes],
    most: int | None = None,
    patience: float | None = None,
) -> AsyncGenerator[dict[str, Any]]:
    """Obtain contents as files, one after the other. Yields "fetching" events in bytes.

    `most` and `patience` apply to each content, as in `Membership.fetch`. Errors are the same, and
    DiskFull if the quota has no room for a content and its file. Chunks damaged on this disk are
    fetched again.
    """
    for content in contents:
        async with (
            membership.node.using([content]),
            aclosing(_obtained(membership, content, most, patience)) as steps,
        ):
            async for have, total in steps:
                yield {
                    "event": "fetching",
                    "content": content.hex(),
                    "bytes": have,
                    "total": total,
                }


def checkpoint_limit(membership: Membership, content: bytes) -> int:
    """Most bytes of a content that is requested as a checkpoint or as a part of the run."""
    heads = [record for record in membership.naming(content) if isinstance(record, Head)]
    if content in membership.run.content_ids() or not heads:
        return membership.limit(content)
    return max(content_limit(membership.run, head) for head in heads)


async def _obtained(
    membership: Membership, content: bytes, most: int | None, patience: float | None
) -> AsyncGenerator[tuple[int, int]]:
    was_here = await asyncio.to_thread(membership.node.blobs.complete, content)
    manifest = await membership.manifest(content, most, patience)
    async with room_for(membership, manifest, as_file=True, evicting=True) as promise:
        if not was_here:
            async with aclosing(_fetched(membership, content, most, patience, promise)) as steps:
                async for step in steps:
                    yield step
        try:
            await membership.node.path(content)
        except MissingChunk:
            await asyncio.to_thread(membership.node.blobs.drop_damaged, manifest)
            async with aclosing(_fetched(membership, content, most, patience, promise)) as steps:
                async for step in steps:
                    yield step
            await membership.node.path(content)
    if not was_here:
        await membership.announcer.content(content)


async def _fetched(
    membership: Membership,
    content: bytes,
    most: int | None,
    patience: float | None,
    promise: Promise,
) -> AsyncGenerator[tuple[int, int]]:
    """(bytes here, bytes in all) while one content is fetched. Its errors are raised."""
    steps: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()

    def tell(have: int, total: int) -> None:
        promise.arrived(have, total)
        steps.put_nowait((have, total))

    fetching = asyncio.create_task(membership.fetch(content, tell, most, patience))
    fetching.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        while (step := await steps.get()) is not None:
            yield step
        await fetching
    finally:
        await end_tasks(fetching)
