"""Which of a node's runs is meant: by its id, the beginning of that, or its name."""

from __future__ import annotations

from paris_p2p.errors import UsageProblem
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node

SHOWN = 12
"""Digits of an id that tell it from others to people."""


def choose(node: Node[Membership], wanted: str | None) -> Membership:
    """The membership that is `wanted`; the only one where nothing is.

    UsageProblem, naming the choices, where none or more than one is meant.
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
