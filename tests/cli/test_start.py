"""`paris-peer start` with a process of its own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from peers.local_swarm import local_swarm

pytestmark = pytest.mark.timeout(600)


def test_a_peer_that_trains_unattended_shows_it_and_leaves_with_everything_published(
    tmp_path: Path,
) -> None:
    with local_swarm(tmp_path) as swarm:
        peer = swarm.start("ada", (), "--seed-genesis", "--train")
        slot = peer.first("claimed", 60)["slot"]
        peer.first("progress", 240)
        (job,) = swarm.status("ada")["jobs"]
        assert job["slot"] == slot
        peer.popen.send_signal(signal.SIGINT)
        events = peer.finish()
    assert [event["event"] for event in events[-3:]] == [
        "published",
        "resume_published",
        "released",
    ]
