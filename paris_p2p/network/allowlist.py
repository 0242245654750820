"""A swarm reduced to listed authors: records and streams of others are ignored.

For runs that list their members. Unlike a private swarm (`private_swarm`), it hides nothing in the
DHT. It decides with whom content is exchanged and whose records count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Author, peer_id_of
from paris_p2p.network.swarm import Entry, Handler, Stream, Swarm

Listed = Callable[[Author], bool]


def listed_only(swarm: Swarm, listed: Listed) -> Swarm:
    """`swarm` restricted to `listed` authors. `listed` is called each time."""
    return cast("Swarm", _ListedOnly(swarm, listed))


class _ListedOnly:
    """Calls that concern no other author go to the swarm unchanged."""

    def __init__(self, swarm: Swarm, listed: Listed) -> None:
        self._swarm = swarm
        self._listed = listed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._swarm, name)

    async def lookup(self, key: str) -> list[Entry]:
        entries = await self._swarm.lookup(key)
        return [entry for entry in entries if self._listed(entry.owner)]

    async def open(self, author: Author, protocol: str, addresses: Sequence[str] = ()) -> Stream:
        if not self._listed(author):
            raise Unreachable(f"peer {peer_id_of(author)} is not a member of the run")
        return await self._swarm.open(author, protocol, addresses)

    async def serve(self, protocol: str, handler: Handler) -> None:
        async def to_listed(author: Author, stream: Stream) -> None:
            if self._listed(author):
                await handler(author, stream)

        await self._swarm.serve(protocol, to_listed)
