"""Presence: "I am here, at these addresses"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import paris_p2p
from paris_p2p.identity import Identity
from paris_p2p.records.fields import AuthorKey, Hash, Many, OneOf, Signed, Text, Time

PEER, BOOTSTRAP, SEED = "peer", "bootstrap", "seed"
ROLES = (PEER, BOOTSTRAP, SEED)
"""A peer may train; a bootstrap is an address to start from; a seed stores and serves."""


@dataclass(frozen=True)
class Presence(Signed):
    """A running peer. `addresses` are multiaddrs in its own words: parse them before dialling."""

    KIND: ClassVar[str] = "presence"

    run: Hash
    author: AuthorKey
    addresses: Annotated[tuple[str, ...], Many(Text(256, shortest=1), most=8)]
    agent: Annotated[str, Text(64)]
    """Software and version."""
    role: Annotated[str, OneOf(ROLES)]
    time: Time
    """When this was written."""


def sealed_presence(
    identity: Identity, run: bytes, addresses: Iterable[str], role: str, now: float
) -> bytes:
    """The signed record that says: this software runs here as `identity`, at these addresses."""
    return Presence(
        run=run,
        author=identity.author,
        addresses=tuple(addresses),
        agent=f"paris-p2p/{paris_p2p.__version__}",
        role=role,
        time=now,
    ).seal(identity)
