"""What a training process is told of its slot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.peer.training.assignment import TrainingRequest, assignment, needed
from paris_p2p.peer.training.starting_points import Start
from paris_p2p.records.run import ROUTER, ExpertSlot
from paris_p2p.training.job import Job
from tests.peer.worlds import PeerWorld


@pytest.mark.parametrize("slot", [0, 1, ROUTER])
async def test_a_job_trains_its_own_slots_shape_by_its_own_objective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slot: int
) -> None:
    peer = await PeerWorld(tmp_path).join()
    deep = replace(peer.run.expert, depth=7)
    peer.run = replace(
        peer.run, experts=(ExpertSlot(peer.run.expert), ExpertSlot(deep, "ddpm-cosine"))
    )

    async def path(content: bytes) -> Path:
        return tmp_path / content.hex()

    monkeypatch.setattr(peer.node, "path", path)
    file = tmp_path / "job.json"
    file.write_text(json.dumps(await assignment(peer, slot, Start(), TrainingRequest())))
    job = Job.read(file)
    assert job.router == peer.run.router
    assert (job.expert, job.objective) == (
        (deep, "ddpm-cosine") if slot == 1 else (peer.run.expert, "flow")
    )


@pytest.mark.parametrize("slot", [0, ROUTER])
async def test_the_experts_start_from_the_runs_base_and_the_router_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slot: int
) -> None:
    peer = await PeerWorld(tmp_path).join()
    peer.run = replace(peer.run, base=b"b" * 32)

    async def path(content: bytes) -> Path:
        return tmp_path / content.hex()

    monkeypatch.setattr(peer.node, "path", path)
    job = await assignment(peer, slot, Start(), TrainingRequest())
    if slot == ROUTER:
        assert job["base"] is None and peer.run.base not in needed(peer.run, slot)
    else:
        assert job["base"] == str(await path(b"b" * 32)) and peer.run.base in needed(peer.run, slot)
