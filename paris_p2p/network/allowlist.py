"""A swarm in which only listed authors exist: what others say is not read, what they ask not heard.

For runs that list their members. Unlike a private swarm (`private_swarm`) this hides nothing that
is said in the DHT; it decides with whom content is exchanged and whose word counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Author, peer_id_of
from paris_p2p.network.swarm import Entry, Handler, Stream, Swarm

Listed = Callable[[Author], bool]


def listed_only(swarm: Swarm, listed: Listed) -> Swarm:
    """`swarm` as far as `listed` authors are concerned; asked anew every time."""
    return cast("Swarm", _ListedOnly(swarm, listed))


class _ListedOnly:
    """What is not about another author goes on to the swarm as it is."""

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
