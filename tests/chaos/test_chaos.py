"""The short form: a few faults, one after the other, on one swarm of real processes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.arena import arena
from tests.chaos.faults import (
    Fault,
    corrupt_a_store,
    kill_a_p2pd,
    kill_a_trainer,
    kill_half,
    send_crash_packets,
    serve_wrong_bytes,
)
from tests.chaos.invariants import left_behind, survive

pytestmark = [pytest.mark.timeout(1200), pytest.mark.process]

SHORT: tuple[Fault, ...] = (
    kill_a_trainer,
    kill_a_p2pd,
    corrupt_a_store,
    send_crash_packets,
    kill_half,
    serve_wrong_bytes,
)


@pytest.mark.slow
def test_nothing_is_lost(tmp_path: Path) -> None:
    rng = random.Random(3)
    with arena(tmp_path / "swarm", volunteers=4) as swarm:
        for fault in SHORT:
            fault(swarm, rng)
            last = fault is SHORT[-1]
            survive(swarm, fault.__name__, swarm.heads(), tmp_path if last else None)
            swarm.restore()
        swarm.swarm.close()
        assert left_behind(swarm) == []
