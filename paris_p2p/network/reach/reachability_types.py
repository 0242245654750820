"""Whether others can reach a peer, and by which way: the words for it.

How it is found out: `witnesses`. What an unreachable peer does about it: `relays`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """What we know about being dialled from outside."""

    PUBLIC = "public"
    PRIVATE = "private"
    UNKNOWN = "unknown"
    """Nobody could be asked."""


class Nat(enum.StrEnum):
    """What stands between us and the others, as far as they can tell us."""

    NONE = "none"
    """They see an address of this machine."""
    CONE = "cone"
    """One port outside for all peers: holes can be punched."""
    SYMMETRIC = "symmetric"
    """Another port for every peer: only a relay helps."""
    UNKNOWN = "unknown"
    """Fewer than two peers at different addresses could be asked."""


@dataclass(frozen=True)
class Reachability:
    """How others reach this peer. What `Swarm.reachability` says; it never waits."""

    state: State = State.UNKNOWN
    addresses: tuple[str, ...] = ()
    """What we tell others to dial: full multiaddrs, those over relays included."""
    observed: tuple[str, ...] = ()
    """The transports (no PeerID) our connections come from, as other peers see them."""
    relays: tuple[str, ...] = ()
    """Full addresses of the relays through which we can be reached now."""
    serves_relay: bool = False
    """Whether others may be reached through us."""
    nat: Nat = Nat.UNKNOWN
    hole_punching: bool = False
    """Whether a direct connection may come about although nobody can dial us."""
    upnp: str = ""
    """The transport our router forwards to us because we asked it to; "" for none."""
    reached_by: int = 0
    """Peers that dialled us back, when last asked."""
    missed_by: int = 0
    """Peers that tried to and could not."""


class Way(enum.StrEnum):
    """How a peer is connected to us. What `Swarm.way_to` says."""

    DIRECT = "direct"
    RELAYED = "relayed"
    NONE = "none"
