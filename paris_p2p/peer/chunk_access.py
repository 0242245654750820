"""The chunks that a node in a members-only run may give to a caller.

A members-only run limits who may have its content. The content of all runs of a node lies in one
store, so the node decides by content:

- A caller that all runs admit may have every chunk.
- Another caller may have chunks of content that is named by a run that admits it. Chunks of content
  of any other run are refused: anyone may publish a head in an open run that names content of a
  members-only run, or that is made of its chunks. Content that the admitting run itself consists of
  is served even if the other run names it too.

The named contents are read in a thread and cached. A stale cache can only refuse too much: a chunk
that is found in it is checked against the current records.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from paris_p2p.identity import Author
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node

REMEMBERED = 20.0
"""Seconds for which the contents that the runs name are cached."""


class ChunkAccess:
    """Decides which chunks of one node a caller may have."""

    def __init__(self, node: Node[Membership]) -> None:
        self._node = node
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._named: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._contents: defaultdict[bytes, set[bytes]] = defaultdict(set)

    async def may_have(self, author: Author, chunk: bytes) -> bool:
        """Whether `author` may have a chunk of this store."""
        memberships = list(self._node.memberships.values())
        inside = [one for one in memberships if one.authorisation.lists(author)]
        outside = [one for one in memberships if one not in inside]
        if not outside:
            return True
        if not inside:
            return False
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if now - self._read_at > REMEMBERED:
                await asyncio.to_thread(self._read, memberships)
                self._read_at = now
        return await asyncio.to_thread(self._is_of, chunk, inside, outside)

    def _read(self, memberships: Iterable[Membership]) -> None:
        """Cache the contents that each run names, and the contents that have each chunk.

        Content that a members-only run has named stays its own while this process lives.
        """
        contents: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for membership in memberships:
            self._named[membership.run_id] |= membership.contents()
            contents[membership.run_id].add(membership.run_id)
        for content in self._node.blobs.known():
            manifest = self._node.blobs.manifest(content)
            for chunk in {content, *manifest.chunks} if manifest is not None else ():
                contents[chunk].add(content)
        self._contents = contents

    def _is_of(
        self, chunk: bytes, inside: Sequence[Membership], outside: Sequence[Membership]
    ) -> bool:
        """Whether a chunk is of a run `inside` and of none `outside`, or of content of both."""
        contents = self._contents.get(chunk, set())
        hidden = {one for one in contents if any(self._names(other, one) for other in outside)}
        if hidden:
            return any(one in hidden for member in inside for one in member.run.content_ids())
        return any(self._names(member, one) for member in inside for one in contents)

    def _names(self, membership: Membership, content: bytes) -> bool:
        """Whether a run consists of a content, or one of its records names or named it."""
        return (
            content == membership.run_id
            or content in membership.run.content_ids()
            or bool(membership.heads.naming(content) or membership.resumes.naming(content))
            or (bool(membership.run.members) and content in self._named[membership.run_id])
        )
