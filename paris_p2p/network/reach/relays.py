"""The relays of an unreachable peer: chosen, reservations renewed, replaced.

A relay forwards encrypted bytes: it learns who talks to whom and how much, nothing else. Relays
that the user named come first. Otherwise any neighbour will do, as all peers in our routing table
can be dialled. A relay that carries too little per connection is no use: stock libp2p's is 128 KiB.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from paris_p2p.errors import ParisError
from paris_p2p.identity import author_of
from paris_p2p.network.p2pd.daemon import Daemon
from paris_p2p.network.reach.relay_reservation import HOP_PROTOCOL, RelayLimit, reserve
from paris_p2p.records.address import CIRCUIT, Address, parse_address

logger = logging.getLogger(__name__)

WANTED = 2
"""Relays in use: one may die."""

TRIED = 6
"""Relays asked for one per round."""

LEAST_BYTES = 64 << 20
"""Bytes that a useful relay carries per connection."""

RESERVE_TIMEOUT = 10.0

Reserve = Callable[[Address], Awaitable[RelayLimit]]


class Relays:
    """Our relay reservations. Call `keep` every heal period: they end with their connections.

    Parameters
    ----------
    named : relays that the user named; they are used first.
    """

    def __init__(self, named: Sequence[Address], reserve_at: Reserve) -> None:
        self._named = tuple(named)
        self._reserve_at = reserve_at
        self._in_use: dict[Address, None] = {}

    def in_use(self) -> tuple[Address, ...]:
        """The relays where we have a reservation, best first."""
        return tuple(self._in_use)

    def leave(self) -> None:
        """Stop using relays; the reservations expire by themselves."""
        self._in_use.clear()

    async def keep(self, neighbours: Sequence[Address], rng: random.Random) -> None:
        """Renew our reservations; if they are too few, ask named relays and neighbours."""
        kept = await self._ask([*self._in_use])
        others = [relay for relay in self._named if relay not in kept]
        strangers = [relay for relay in neighbours if relay not in (*kept, *others)]
        others += rng.sample(strangers, min(TRIED, len(strangers)))
        wanted = max(WANTED, len(self._named)) - len(kept)
        self._in_use = dict.fromkeys(kept)
        for relay in others[:TRIED]:
            if wanted > 0 and await self._ask([relay]):
                self._in_use[relay] = None
                wanted -= 1

    async def _ask(self, relays: Sequence[Address]) -> list[Address]:
        """Those of `relays` that give us a useful reservation."""
        places = await asyncio.gather(*map(self._has_place, relays))
        return [relay for relay, place in zip(relays, places, strict=True) if place]

    async def _has_place(self, relay: Address) -> bool:
        try:
            async with asyncio.timeout(RESERVE_TIMEOUT):
                limit = await self._reserve_at(relay)
        except (ParisError, TimeoutError) as error:
            logger.info("no reservation at the relay %s: %s", relay, error)
            return False
        if not carries_enough(limit):
            logger.info("the relay %s carries only %d bytes a connection", relay, limit.bytes)
            return False
        return True


def carries_enough(limit: RelayLimit) -> bool:
    """Whether a relay with this limit is of use; 0 is none."""
    return limit.bytes == 0 or limit.bytes >= LEAST_BYTES


async def reserve_at(daemon: Daemon, relay: Address) -> RelayLimit:
    """A reservation at a relay, dialled if necessary. Raises `Unreachable`, `BadContent`."""
    await daemon.dial(relay)
    stream = await daemon.open(author_of(relay.peer_id), HOP_PROTOCOL)
    try:
        return await reserve(stream)
    finally:
        await stream.close()


def circuit_through(relay: Address, peer_id: str) -> str:
    """The full address of a peer with a reservation at `relay`."""
    return str(parse_address(f"{relay}{CIRCUIT}/p2p/{peer_id}"))
