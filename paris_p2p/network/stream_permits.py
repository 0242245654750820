"""Permits for streams: which streams are served when there are too many.

The permits of one author, all permits, and the authors that hold any are each limited. If none is
left for a newcomer:

* A stream that has been idle for a while gives way to an author without a permit.
* Otherwise permits are shared by network (see `dht/subnets`), because identities cost nothing and
  addresses do. A stream of the network with the most permits gives way, if that leaves this network
  no fewer than the newcomer's then has. Within one network, the same rule holds between authors.

So an attacker that takes all permits from one address loses them to others, one by one. Among the
streams that may give way, the latest does: it loses the least.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from paris_p2p.identity import Author
from paris_p2p.network.swarm import Stream

RESTED = 2.0
"""Seconds without a request after which a stream is idle."""

NetworkOf = Callable[[Author], Awaitable[str]]
"""The network that an author connects from; "" if unknown."""


async def nowhere(author: Author) -> str:
    """For services that do not know anybody's network."""
    return ""


@dataclass(eq=False)
class StreamPermit:
    """One stream that is being served."""

    author: Author
    stream: Stream
    resting_since: float | None = None
    """When its client last became idle, in seconds; None while a request is pending."""


class StreamPermits:
    """The permits of one service.

    Parameters
    ----------
    most, most_each, most_authors : streams in all, streams of one author, authors.
    network_of : asked only when there is no permit left.
    clock : seconds of any epoch.
    """

    def __init__(
        self,
        most: int,
        most_each: int,
        network_of: NetworkOf,
        *,
        most_authors: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._most_each = most_each
        self._most_authors = most_authors
        self._network_of = network_of
        self._clock = clock
        self._taken: dict[StreamPermit, None] = {}

    async def take(self, stream: Stream) -> StreamPermit | None:
        """A permit for this stream, to be given back with `leave`; None if there is none."""
        author = stream.author
        while self._authors().count(author) < self._most_each:
            groups = self._in_the_way(author)
            if not groups:
                permit = StreamPermit(author, stream)
                self._taken[permit] = None
                return permit
            networks = {who: await self._network_of(who) for who in {author, *self._authors()}}
            chosen = displaced(groups, author, networks, self._clock())
            if not chosen:
                break
            for permit in chosen:
                self.leave(permit)
                await permit.stream.close()
        return None

    def leave(self, permit: StreamPermit) -> None:
        """Give a permit back. It may have been taken away already."""
        self._taken.pop(permit, None)

    def rest(self, permit: StreamPermit, resting: bool) -> None:
        """Note that a permit's client is idle (`resting`), or has a request again."""
        permit.resting_since = self._clock() if resting else None

    def _authors(self) -> list[Author]:
        return [permit.author for permit in self._taken]

    def _in_the_way(self, author: Author) -> list[list[StreamPermit]]:
        """The groups of permits one of which must give way; empty when there is room."""
        if len(self._taken) >= self._most:
            return [[permit] for permit in self._taken]
        held: dict[Author, list[StreamPermit]] = {}
        for permit in self._taken:
            held.setdefault(permit.author, []).append(permit)
        if len({author, *held}) > self._most_authors:
            return list(held.values())
        return []


def displaced(
    groups: Sequence[Sequence[StreamPermit]],
    author: Author,
    networks: Mapping[Author, str],
    now: float,
) -> Sequence[StreamPermit]:
    """The group that gives way to `author`; empty for none. Each group belongs to one author."""
    by_author = Counter(group[0].author for group in groups)
    by_network = Counter(networks.get(group[0].author, "") for group in groups)
    network = networks[author]

    def shares(group: Sequence[StreamPermit]) -> tuple[int, int]:
        whose = group[0].author
        return by_network[networks.get(whose, "")], by_author[whose]

    def has_more(group: Sequence[StreamPermit]) -> bool:
        of_network, of_author = shares(group)
        if networks.get(group[0].author, "") == network:
            return of_author - by_author[author] >= 2
        return of_network - by_network[network] >= 2

    rested = [group for group in groups if all(_has_rested(permit, now) for permit in group)]
    giving = (rested if not by_author[author] else []) or [*filter(has_more, groups)]
    return max(reversed(giving), key=shares, default=())


def _has_rested(permit: StreamPermit, now: float) -> bool:
    return permit.resting_since is not None and now - permit.resting_since >= RESTED
