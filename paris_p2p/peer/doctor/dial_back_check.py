"""Which of this peer's addresses lead to it from outside: others are asked to dial back, and ask.

The protocol is `network/reach/dial_back.py`; here is who is asked, and what they are asked to dial.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from paris_p2p.errors import BadContent, ParisError, Unreachable
from paris_p2p.identity import Author, PeerId, author_of, peer_id_of
from paris_p2p.network.p2pd.listening import transport_of
from paris_p2p.network.reach.dial_back import (
    DIALBACK_PROTOCOL,
    MAX_ADDRESSES,
    Answer,
    Budget,
    DialbackServer,
    ask_dialback,
)
from paris_p2p.network.swarm import Swarm
from paris_p2p.peer.books.survey import read_peers
from paris_p2p.records.address import ip_of, parse_address, tcp_endpoint

PEERS_ASKED = 5
"""Peers asked to dial back."""

GUESSES = 2
"""Addresses that we do not announce and ask about: our port at the IPs that others see us at."""

PATIENCE = 20.0
"""Seconds for one peer to answer one question."""

Found = dict[Author, list[str]]
"""Peers with full addresses of theirs."""


def dialback_server(
    swarm: Swarm, runs: Collection[bytes], clock: Callable[[], float]
) -> DialbackServer:
    """Serves dial-back questions of the peers in `swarm`; `clock` in seconds, from anywhere."""

    async def announced_by(author: Author) -> Collection[str]:
        found = await _present(swarm, runs)
        return own_transports(found.get(author, ()))

    return DialbackServer(swarm.seen_at, announced_by, Budget(clock), network_of=swarm.network_of)


async def ask_to_dial_back(
    swarm: Swarm, runs: Collection[bytes], rng: random.Random
) -> dict[PeerId, Answer | str]:
    """What some other peers found at our addresses; a text says why one found nothing.

    Where they see us at an IP that we do not announce, they are asked in a second round whether
    our port is open there.
    """
    others = await _others(swarm, runs)
    asked = rng.sample(sorted(others), min(PEERS_ASKED, len(others)))
    transports = own_transports(swarm.addresses())[: MAX_ADDRESSES - GUESSES]
    first = await _ask_all(swarm, {author: others[author] for author in asked}, transports)
    heard = {author: answer for author, answer in first.items() if isinstance(answer, Answer)}
    guessed = guesses(transports, heard.values())
    if guessed:
        second = await _ask_all(swarm, {author: others[author] for author in heard}, guessed)
        first |= {author: _both(heard[author], second[author]) for author in heard}
    return {peer_id_of(author): answer for author, answer in first.items()}


async def _ask_all(
    swarm: Swarm, peers: Mapping[Author, Sequence[str]], transports: Sequence[str]
) -> dict[Author, Answer | str]:
    answers = await asyncio.gather(
        *(_ask(swarm, author, addresses, transports) for author, addresses in peers.items())
    )
    return dict(zip(peers, answers, strict=True))


async def _ask(
    swarm: Swarm, author: Author, addresses: Sequence[str], transports: Sequence[str]
) -> Answer | str:
    try:
        async with asyncio.timeout(PATIENCE):
            stream = await swarm.open(author, DIALBACK_PROTOCOL, addresses)
            try:
                return await ask_dialback(stream, transports)
            finally:
                await stream.close()
    except TimeoutError:
        return f"no answer within {PATIENCE:.0f} s"
    except ParisError as error:
        return error.message


def _both(first: Answer, second: Answer | str) -> Answer:
    more = second.dials if isinstance(second, Answer) else ()
    return Answer(first.seen, first.dials + more)


def own_transports(addresses: Iterable[str]) -> list[str]:
    """The plain transports in full addresses; relayed ones lead to another peer first."""
    transports = []
    for text in addresses:
        with suppress(BadContent):
            address = parse_address(text)
            transports += [address.transport] if address.relay is None else []
    return transports


def guesses(transports: Sequence[str], answers: Iterable[Answer]) -> list[str]:
    """Our port at the IPs where most others see us and that we do not announce: what a router
    that forwards our port would make of it."""
    announced = set(map(ip_of, transports))
    endpoints = [endpoint for endpoint in map(tcp_endpoint, transports) if endpoint]
    seen = Counter(
        host
        for answer in answers
        for host in set(map(ip_of, answer.seen))
        if host is not None and host not in announced
    )
    common = [str(host) for host, _ in seen.most_common(GUESSES)]
    return [transport_of(host, endpoints[0][1]) for host in common] if endpoints else []


async def _others(swarm: Swarm, runs: Collection[bytes]) -> Found:
    """Other peers with addresses of theirs: those present in the run, and those met."""
    others = await _present(swarm, runs)
    for text in swarm.known_addresses():
        with suppress(BadContent):
            others.setdefault(author_of(parse_address(text).peer_id), []).append(text)
    others.pop(swarm.author, None)
    return others


async def _present(swarm: Swarm, runs: Collection[bytes]) -> Found:
    """Everybody who says to take part in one of the runs, with the addresses announced."""
    found: Found = {}
    for run_id in list(runs):
        with suppress(Unreachable):
            for presence in await read_peers(swarm, run_id):
                found[presence.author] = list(presence.addresses)
    return found
