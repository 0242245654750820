"""Presence: "I am here, at these addresses"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

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
