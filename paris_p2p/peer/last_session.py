"""Data that a peer keeps for its next session.

The addresses of known peers are a way back into the swarm when every bootstrap is gone. With its
port and reachability a peer resumes as it was.
"""

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
    """The saved addresses, newest first, without unreadable ones."""
    try:
        found = json.loads(home.known_peers_file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ()
    listed = found if isinstance(found, list) else ()
    return tuple(text for text in listed if isinstance(text, str) and _sound(text))[:MOST]


def remember_peers(home: Home, addresses: Sequence[str]) -> None:
    """Put `addresses` before those already saved, and keep the first MOST."""
    merged = dict.fromkeys([*filter(_sound, addresses), *read_known_peers(home)])
    write_atomically(home.known_peers_file, json.dumps(list(merged)[:MOST]).encode())


def read_port(home: Home) -> int:
    """The port that this peer listened on in its last session; 0 if none is saved."""
    try:
        port = int(home.port_file.read_bytes()[:10])
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 65536 else 0


def remember_port(home: Home, port: int) -> None:
    """Save the port for the next start."""
    write_atomically(home.port_file, str(port).encode())


def read_reach(home: Home) -> ReachState:
    """How others could reach this peer in its last session."""
    try:
        return ReachState(home.reach_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ReachState.UNKNOWN


def remember_reach(home: Home, state: ReachState) -> None:
    """Save the reachability for the next start."""
    write_atomically(home.reach_file, state.value.encode())


def _sound(address: str) -> bool:
    try:
        parse_address(address)
    except BadContent:
        return False
    return True
