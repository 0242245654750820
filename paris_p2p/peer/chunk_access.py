"""Who may have which chunk of a node that takes part in a run for its members only.

Such a run decides with whom its content is exchanged. A node that is in other runs too has to tell
them apart by content, since all of it lies in one store:

- a caller whom every run lets take part may have every chunk;
- any other, only chunks of what is named by the runs that let it take part, and of these none that
  belongs to a run that does not. For anyone may publish a head, in a run for anyone, that names a
  members' content, or that is cut from its chunks. What a run that lets the caller take part is
  itself made of is served all the same, where both runs share it as a whole.

The names are read off the event loop and remembered for a while. That may only refuse what has
been named since: what is found there is checked against the names of this moment.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from paris_p2p.identity import Author
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node

REMEMBERED = 20.0
"""Seconds for which it is remembered what the runs name."""


class ChunkAccess:
    """Says who may have which chunk of one node."""

    def __init__(self, node: Node[Membership]) -> None:
        self._node = node
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._named: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._contents: defaultdict[bytes, set[bytes]] = defaultdict(set)

    async def may_have(self, author: Author, chunk: bytes) -> bool:
        """Whether `author` may have a chunk, if it is here."""
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
        """What each run names, and which contents have each chunk.

        What a run for members has named stays its own for as long as this process lives.
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
        """Whether a chunk is of a run `inside` and of none `outside`, or of what both share."""
        contents = self._contents.get(chunk, set())
        hidden = {one for one in contents if any(self._names(other, one) for other in outside)}
        if hidden:
            return any(one in hidden for member in inside for one in member.run.content_ids())
        return any(self._names(member, one) for member in inside for one in contents)

    def _names(self, membership: Membership, content: bytes) -> bool:
        """Whether a run is made of a content, or a record of it names it or did before."""
        return (
            content == membership.run_id
            or content in membership.run.content_ids()
            or bool(membership.heads.naming(content) or membership.resumes.naming(content))
            or (bool(membership.run.members) and content in self._named[membership.run_id])
        )
