"""Asking other peers to dial this peer's addresses back, and answering the same question.

The protocol is in `network/reach/dial_back.py`. This module chooses the peers to ask.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial

from paris_p2p.errors import BadContent, ParisError, Unreachable
from paris_p2p.identity import Author, PeerId, author_of, peer_id_of
from paris_p2p.network.reach.dial_back import (
    DIALBACK_PROTOCOL,
    Budget,
    DialBackAnswer,
    DialbackServer,
)
from paris_p2p.network.reach.dial_back_client import dialled_back
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.books.survey import read_peers
from paris_p2p.records.address import parse_address, tcp_endpoint

PEERS_ASKED = 5
"""Most peers asked to dial back."""

Found = dict[Author, list[str]]
"""Peers with their full addresses."""


def dialback_server(
    swarm: Swarm, runs: Collection[bytes], clock: Callable[[], float]
) -> DialbackServer:
    """A server for the dial-back questions of peers in `swarm`. `clock` : seconds, any origin."""

    async def announced_by(author: Author) -> Collection[str]:
        found = await _present(swarm, runs)
        return own_transports(found.get(author, ()))

    return DialbackServer(swarm.seen_at, announced_by, Budget(clock), network_of=swarm.network_of)


async def ask_to_dial_back(
    swarm: Swarm, runs: Collection[bytes], rng: random.Random
) -> dict[PeerId, DialBackAnswer | str]:
    """Answers of some peers about our addresses, and our port at the address that they see.

    A text in place of an answer says why there is none.
    """
    others = await _others(swarm, runs)
    asked = rng.sample(sorted(others), min(PEERS_ASKED, len(others)))
    answers = await asyncio.gather(*(_ask(swarm, author, others[author]) for author in asked))
    return dict(zip(map(peer_id_of, asked), answers, strict=True))


async def _ask(swarm: Swarm, author: Author, addresses: Sequence[str]) -> DialBackAnswer | str:
    transports = own_transports(swarm.addresses())
    endpoints = [endpoint for endpoint in map(tcp_endpoint, transports) if endpoint]
    port = endpoints[0][1] if endpoints else None
    opening = partial(swarm.open, author, DIALBACK_PROTOCOL, addresses)
    try:
        return await dialled_back(opening, transports, port)
    except ParisError as error:
        return error.message


def own_transports(addresses: Iterable[str]) -> list[str]:
    """The direct transports in full addresses. Relayed ones lead to another peer first."""
    transports = []
    for text in addresses:
        with suppress(BadContent):
            address = parse_address(text)
            transports += [address.transport] if address.relay is None else []
    return transports


async def _others(swarm: Swarm, runs: Collection[bytes]) -> Found:
    """Other peers with their addresses: those present in the runs, and those met."""
    others = await _present(swarm, runs)
    for text in swarm.known_addresses():
        with suppress(BadContent):
            others.setdefault(author_of(parse_address(text).peer_id), []).append(text)
    others.pop(swarm.author, None)
    return others


async def _present(swarm: Swarm, runs: Collection[bytes]) -> Found:
    """The peers that announce one of the runs, with their announced addresses."""
    found: Found = {}
    for run_id in list(runs):
        with suppress(Unreachable):
            for presence in await read_peers(swarm, run_id):
                found[presence.author] = list(presence.addresses)
    return found
