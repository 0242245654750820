"""Meeting more peers than the one we joined through, as ways back into the swarm."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import peer_id_of
from paris_p2p.peer.books.survey import read_peers
from paris_p2p.peer.last_session import remember_peers
from paris_p2p.peer.membership import Membership
from paris_p2p.records.address import parse_address

PERIOD = 20.0
MET = 3
"""Peers of the run that are met in each PERIOD (seconds)."""


async def meet_some(membership: Membership) -> None:
    """Meet some peers of the run at their announced addresses, and save all known addresses."""
    known = {parse_address(address).peer_id for address in membership.swarm.known_addresses()}
    strangers = [
        presence
        for presence in await read_peers(membership.swarm, membership.run_id)
        if presence.author != membership.node.identity.author
        and peer_id_of(presence.author) not in known
    ]
    for presence in membership.node.rng.sample(strangers, min(MET, len(strangers))):
        for address in presence.addresses[:1]:
            with suppress(Unreachable, BadContent):
                await membership.swarm.meet(address)
    await asyncio.to_thread(
        remember_peers, membership.node.home, membership.swarm.known_addresses()
    )
