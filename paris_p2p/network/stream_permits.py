"""Who is served when not everybody can be: a permit for each stream, and who gives way to whom.

One author has at most so many permits, all of them have so many, and at most so many authors have
any. Where a newcomer finds none:

* A stream that has asked for nothing for a while gives way to an author that has none.
* Otherwise permits are shared out by network (see `dht/subnets`): identities cost nothing,
  addresses do. One of the network that has the most gives way, as long as that leaves it
  no fewer than the newcomer's own network has then. Within one network the same holds between
  authors.

So whoever takes all permits from one address gives them up to others, one by one. Of those that
would have to give way, the latest does: it loses the least.
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
"""Seconds without a question after which a stream may have to give way."""

NetworkOf = Callable[[Author], Awaitable[str]]
"""The network that an author is connected from; "" where that is not known."""


async def nowhere(author: Author) -> str:
    """For services that do not know where anybody comes from."""
    return ""


@dataclass(eq=False)
class StreamPermit:
    """One stream that is being served."""

    author: Author
    stream: Stream
    resting_since: float | None = None
    """When its client had nothing asked for any more, in seconds; None while it has."""


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
        """A permit for this stream, to be left again; None when there is none for its author."""
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
        """Note that a permit's client has nothing asked for, or has again."""
        permit.resting_since = self._clock() if resting else None

    def _authors(self) -> list[Author]:
        return [permit.author for permit in self._taken]

    def _in_the_way(self, author: Author) -> list[list[StreamPermit]]:
        """The groups of permits of which one has to be left; none when there is room."""
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
    """Which group gives way to `author`, each group being of one author; empty when none has to."""
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
