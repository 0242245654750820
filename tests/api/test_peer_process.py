"""The process of a peer, from the start of its swarm to the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from paris_p2p.api import peer_process
from paris_p2p.config import PeerConfig
from paris_p2p.errors import DiskFull
from paris_p2p.home import Home
from paris_p2p.network.reach.reachability_types import ReachState


class Node:
    """What stands for a swarm that has been joined."""

    port = 31337
    closed = False

    def reachability(self) -> SimpleNamespace:
        return SimpleNamespace(state=ReachState.PUBLIC)

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("trouble", [DiskFull("no room left"), PermissionError("read-only")])
async def test_a_peer_that_cannot_note_its_port_or_reach_lives_and_leaves_in_good_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    node = Node()

    async def start(**_: object) -> Node:
        return node

    def unwritable(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(peer_process.HivemindSwarm, "start", start)
    monkeypatch.setattr(peer_process, "_log_to", lambda home: None)
    for name in ("remember_port", "remember_reach"):
        monkeypatch.setattr(peer_process, name, unwritable)
    async with peer_process._joined(Home(tmp_path), PeerConfig(), require_contact=False) as (
        _,
        swarm,
        _,
    ):
        assert swarm is node
        assert not node.closed
    assert node.closed
