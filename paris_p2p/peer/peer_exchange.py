"""Getting to know more peers than the one we joined through: ways back when that one is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import peer_id_of
from paris_p2p.peer.books.survey import read_peers
from paris_p2p.peer.last_session import remember_peers
from paris_p2p.peer.peer import Peer
from paris_p2p.records.address import parse_address

PERIOD = 20.0
MET = 3
"""Peers of the run that are met in each of those."""


async def meet_some(peer: Peer) -> None:
    """Meet some peers of the run by their own word; remember all who answered, on disk."""
    known = {parse_address(address).peer_id for address in peer.swarm.known_addresses()}
    strangers = [
        presence
        for presence in await read_peers(peer.swarm, peer.run_id)
        if presence.author != peer.identity.author and peer_id_of(presence.author) not in known
    ]
    for presence in peer.rng.sample(strangers, min(MET, len(strangers))):
        for address in presence.addresses[:1]:
            with suppress(Unreachable, BadContent):
                await peer.swarm.meet(address)
    await asyncio.to_thread(remember_peers, peer.home, peer.swarm.known_addresses())
