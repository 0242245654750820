"""The types for whether and how others can reach a peer.

`witnesses` finds it out. `relays` is for a peer that is unreachable.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ReachState(enum.StrEnum):
    """Whether we can be dialled from outside."""

    PUBLIC = "public"
    PRIVATE = "private"
    UNKNOWN = "unknown"
    """Nobody could be asked."""


class Nat(enum.StrEnum):
    """The kind of NAT in front of us, as far as others can tell."""

    NONE = "none"
    """Others see an address of this machine."""
    CONE = "cone"
    """One outside port for all peers: hole punching works."""
    SYMMETRIC = "symmetric"
    """Another outside port for every peer: only a relay helps."""
    UNKNOWN = "unknown"
    """Fewer than two peers at different addresses could be asked."""


@dataclass(frozen=True)
class Reachability:
    """How others reach this peer. What `Swarm.reachability` says; it never waits."""

    state: ReachState = ReachState.UNKNOWN
    addresses: tuple[str, ...] = ()
    """The addresses we announce: full multiaddrs, relayed ones included."""
    observed: tuple[str, ...] = ()
    """Our connections' transports (no PeerID), as other peers see them."""
    relays: tuple[str, ...] = ()
    """Full addresses of the relays through which we can be reached now."""
    serves_relay: bool = False
    """Whether others may be reached through us."""
    nat: Nat = Nat.UNKNOWN
    hole_punching: bool = False
    """Whether hole punching may connect us directly although nobody can dial us."""
    upnp: str = ""
    """The transport our router forwards to us because we asked it to; "" for none."""
    reached_by: int = 0
    """Peers that dialled us back, when last asked."""
    missed_by: int = 0
    """Peers that tried to and failed."""


class Way(enum.StrEnum):
    """How a peer is connected to us. What `Swarm.way_to` says."""

    DIRECT = "direct"
    RELAYED = "relayed"
    NONE = "none"
