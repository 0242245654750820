"""Warnings of a running node about its clock and its identity.

Other peers report how far this clock is off. They can lie, so a skew is a warning and never a
reason to stop. A record signed by this node's key that this node did not make proves that another
node uses the key.
"""

from __future__ import annotations

import logging

from paris_p2p.network.swarm import Swarm

log = logging.getLogger(__name__)

PERIOD = 60.0

MAX_SKEW = 10.0
"""Seconds this clock may differ from the other peers' without a warning."""


class Alarms:
    """Checks every PERIOD (seconds) whether there is something to warn of."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._skew: float | None = None
        self._told: list[str] = []

    async def look(self) -> None:
        """Ask the swarm, and log new warnings."""
        self._skew = await self._swarm.clock_skew()
        warnings = self.all()
        for warning in warnings:
            if warning not in self._told:
                log.warning("%s", warning)
        self._told = warnings

    def all(self) -> list[str]:
        """The current warnings, of a sentence or two each."""
        return clock_warnings(self._skew) + identity_warnings(self._swarm.doubled())


def clock_warnings(skew: float | None) -> list[str]:
    """`skew` : this clock minus the other peers', in seconds; None if unknown."""
    if skew is None or abs(skew) <= MAX_SKEW:
        return []
    side = "ahead of" if skew > 0 else "behind"
    return [
        f"this machine's clock is {abs(skew):.0f} s {side} the other peers'. If it is wrong, have "
        "a time server set it (timedatectl set-ntp true): leases and records would expire at the "
        "wrong time"
    ]


def identity_warnings(doubled: bool) -> list[str]:
    """`doubled` : whether another node was heard with this node's key."""
    if not doubled:
        return []
    return [
        "another node runs with this node's identity: they overwrite each other's records and lose "
        "each other's work. Stop one of them, and give the copy a home of its own with a new "
        "identity (`paris-peer start --home ANOTHER`)"
    ]
