"""The runs that a home takes part in, and the one that a command means.

`runs.json` in the home lists the joined runs: {"swarm": fingerprint, "runs": [hex, ...]}. Without
that file the shipped run is the only one. A session that names runs takes part in exactly those,
and does not change the list.
"""

from __future__ import annotations

import json
import re

from paris_p2p.config import PeerConfig
from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.files import write_atomically
from paris_p2p.home import Home
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.shipped_run import ShippedRun

MOST_RUNS = 64
"""Most runs that one home takes part in."""

SHOWN = 12
"""Digits of an id that are shown to people."""

_ID = re.compile("[0-9a-f]{64}")


def session_runs(home: Home, config: PeerConfig, shipped: ShippedRun | None) -> list[bytes]:
    """The run ids of a session, in the order of joining.

    BadContent if there is none, or if the list of joined runs is damaged.
    """
    if config.run:
        return [bytes.fromhex(run_id) for run_id in config.run]
    joined = read_joined(home, shipped)
    if not joined:
        raise BadContent(
            "no run was named and this installation ships none", "name a run with --run ID"
        )
    return joined


def read_joined(home: Home, shipped: ShippedRun | None) -> list[bytes]:
    """The runs that this home has joined; the shipped run if none was ever joined."""
    _, runs = _read(home)
    return runs or ([shipped.id] if shipped is not None else [])


def remember_joined(home: Home, runs: list[bytes], swarm: str) -> None:
    """Save the runs, and the fingerprint of their swarm, for the next start.

    UsageProblem for more than MOST_RUNS.
    """
    if len(runs) > MOST_RUNS:
        raise UsageProblem(
            f"a home takes part in {MOST_RUNS} runs at most", "Leave one: paris-peer run leave ID"
        )
    told = {"swarm": swarm, "runs": [run_id.hex() for run_id in runs]}
    write_atomically(home.runs_file, json.dumps(told).encode())


def expect_same_swarm(home: Home, swarm: str) -> None:
    """UsageProblem if the joined runs are in a swarm with another fingerprint.

    A private swarm is a separate DHT. The fingerprint of the open swarm is "".
    """
    known, runs = _read(home)
    if runs and known != swarm:
        raise UsageProblem(
            f"the runs of the home {home.path} are in {'a private' if known else 'the open'} swarm",
            "A private swarm needs a home of its own: give another one with --home",
        )


def choose(node: Node[Membership], wanted: str | None) -> Membership:
    """The membership whose run has the id, name or id prefix `wanted`; None for the only one.

    UsageProblem, naming the choices, unless exactly one fits.
    """
    memberships = list(node.memberships.values())
    if wanted:
        meant = [one for one in memberships if one.run_id.hex() == wanted]
        meant = meant or [one for one in memberships if one.run.name == wanted]
        meant = meant or [one for one in memberships if one.run_id.hex().startswith(wanted)]
    else:
        meant = memberships
    if len(meant) == 1:
        return meant[0]
    told = ", ".join(f"{one.run.name} ({one.run_id.hex()[:SHOWN]})" for one in meant or memberships)
    if not memberships:
        raise UsageProblem("this peer takes part in no run", "paris-peer run join ID")
    if wanted and not meant:
        raise UsageProblem(f"this peer takes part in no run {wanted[:64]!r}", f"Its runs: {told}")
    raise UsageProblem("this peer takes part in several runs", f"Choose one with --run: {told}")


def _read(home: Home) -> tuple[str, list[bytes]]:
    """The fingerprint of the swarm, and the ids of the joined runs."""
    try:
        told = json.loads(home.runs_file.read_bytes())
    except FileNotFoundError:
        return "", []
    except (OSError, ValueError, RecursionError):
        told = None
    if not _is_list_of_runs(told):
        raise BadContent(
            f"{home.runs_file} is damaged", "delete it, and join your runs again: paris-peer run"
        )
    return told["swarm"], [bytes.fromhex(run_id) for run_id in dict.fromkeys(told["runs"])]


def _is_list_of_runs(told: object) -> bool:
    if not isinstance(told, dict) or told.keys() != {"swarm", "runs"}:
        return False
    swarm, runs = told["swarm"], told["runs"]
    texts = runs if isinstance(runs, list) and len(runs) <= MOST_RUNS else [None]
    ids = all(isinstance(text, str) and _ID.fullmatch(text) for text in texts)
    return ids and isinstance(swarm, str) and (not swarm or _ID.fullmatch(swarm) is not None)
