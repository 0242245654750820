"""What the last life of a peer leaves to the next: peers met, a way back into the swarm when every
bootstrap is gone; its port, and how others could reach it, so that it begins where it left off."""

from __future__ import annotations

import json
from collections.abc import Sequence

from paris_p2p.errors import BadContent
from paris_p2p.files import write_atomically
from paris_p2p.home import Home
from paris_p2p.network.reach.reachability_types import ReachState
from paris_p2p.records.address import parse_address

MOST = 64


def read_known_peers(home: Home) -> tuple[str, ...]:
    """The remembered addresses, newest first; what cannot be read is left out."""
    try:
        found = json.loads(home.known_peers_file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ()
    listed = found if isinstance(found, list) else ()
    return tuple(text for text in listed if isinstance(text, str) and _sound(text))[:MOST]


def remember_peers(home: Home, addresses: Sequence[str]) -> None:
    """Put `addresses` before those already remembered, and keep the first MOST."""
    merged = dict.fromkeys([*filter(_sound, addresses), *read_known_peers(home)])
    write_atomically(home.known_peers_file, json.dumps(list(merged)[:MOST]).encode())


def read_port(home: Home) -> int:
    """The port this peer listened on when it ran last; 0 when none is remembered."""
    try:
        port = int(home.port_file.read_bytes()[:10])
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 65536 else 0


def remember_port(home: Home, port: int) -> None:
    """Keep it for the next start."""
    write_atomically(home.port_file, str(port).encode())


def read_reach(home: Home) -> ReachState:
    """How others could reach this peer when it ran last."""
    try:
        return ReachState(home.reach_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ReachState.UNKNOWN


def remember_reach(home: Home, state: ReachState) -> None:
    """Keep it for the next start."""
    write_atomically(home.reach_file, state.value.encode())


def _sound(address: str) -> bool:
    try:
        parse_address(address)
    except BadContent:
        return False
    return True
