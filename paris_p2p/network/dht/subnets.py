"""The network a peer connects from, which the identities of one attacker share.

A network is a /24 of IPv4 or a /48 of IPv6, as a provider gives to one customer. A peer behind a
relay has the relay's network. p2pd is asked rarely, because strangers decide how often we need it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from itertools import islice, zip_longest

from paris_p2p.records.address import ip_of

PREFIXES = {4: 24, 6: 48}
"""Bits of an address that identify its network."""

LOOK_PERIOD = 5.0
"""Seconds between two queries to p2pd."""

Connections = Callable[[], Awaitable[Iterable[tuple[bytes, str]]]]
"""Lists connections: (public key, multiaddr of the connection). Never raises."""


class Subnets:
    """The networks of the peers that are connected now.

    Parameters
    ----------
    connections : asks p2pd; called at most every LOOK_PERIOD seconds.
    clock : seconds of any epoch that never go back.
    """

    def __init__(
        self, connections: Connections, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._networks: Mapping[bytes, str] = {}
        self._next_look = clock()
        self._looking = asyncio.Lock()

    async def network_of(self, author: bytes) -> str:
        """The network that `author` connects from; "" if not known yet."""
        if author not in self._networks:
            async with self._looking:
                if author not in self._networks and self._clock() >= self._next_look:
                    self._next_look = self._clock() + LOOK_PERIOD
                    found = await self._connections()
                    self._networks = {who: network_in(address) for who, address in found}
        return self._networks.get(author, "")


def taking_turns(
    peers: Collection[bytes], networks: Mapping[bytes, str], most: int, rng: random.Random
) -> list[bytes]:
    """At most `most` of these peers, drawn at random, their networks taking turns.

    So many identities on few networks are not asked more often. Peers of unknown network count as
    one network.
    """
    by_network: defaultdict[str, list[bytes]] = defaultdict(list)
    for peer in rng.sample(sorted(peers), len(peers)):
        by_network[networks.get(peer, "")].append(peer)
    shares = rng.sample(list(by_network.values()), len(by_network))
    turns = (peer for turn in zip_longest(*shares) for peer in turn if peer is not None)
    return list(islice(turns, most))


def network_in(multiaddr: str) -> str:
    """The network of a connection's multiaddr; "" for one without an IP."""
    address = ip_of(multiaddr)
    if address is None:
        return ""
    return str(ipaddress.ip_network((address, PREFIXES[address.version]), strict=False))
