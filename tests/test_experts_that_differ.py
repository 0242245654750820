"""A run of two sizes and two objectives, by real processes: trained, published, fetched, drawn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paris_p2p.home import Home
from paris_p2p.sampling.pictures import read_provenance
from peers.local_swarm import LocalSwarm, SwarmProblem, local_swarm, wait_until
from tests.chaos.small_run import seed_small_run

pytestmark = [pytest.mark.timeout(600), pytest.mark.process]

OBJECTIVES = ("flow", "ddpm-cosine", "of-tomorrow")
"""Of expert 0, of expert 1, which is larger, and of an expert that no peer of today can train."""


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[LocalSwarm]:
    with local_swarm(tmp_path) as made:
        yield made


@pytest.mark.slow
def test_two_sizes_and_two_objectives_are_trained_published_fetched_and_sampled(
    swarm: LocalSwarm, tmp_path: Path
) -> None:
    door = Home(swarm.home("door"))
    run = seed_small_run(door, time.time(), clusters=3, objectives=OBJECTIVES).hex()
    swarm.start("door", (), "--run", run)
    swarm.start("ada", [swarm.address("door")], "--run", run)

    steps = ("--steps", "3", "--threads", "1")
    slots = (("--expert", "0"), ("--expert", "1"), ("--router",))
    for job in [swarm.run("ada", "claim-expert", *slot, *steps) for slot in slots]:
        assert job.finish()[-1]["event"] == "released"
    with pytest.raises(SwarmProblem, match="expert 2 is trained with the objective 'of-tomorrow'"):
        swarm.run("ada", "claim-expert", "--expert", "2", *steps).finish()

    def door_has_all_heads() -> bool:
        return sum(slot["held"] for slot in swarm.run_status("door")["slots"]) == 3

    wait_until(door_has_all_heads, "the door to hold the heads of both experts and router", 180)
    small, large, unknown, _ = swarm.run_status("door")["slots"]
    assert [slot["objective"] for slot in (small, large, unknown)] == list(OBJECTIVES)
    assert small["head"]["bytes"] < large["head"]["bytes"]
    assert small["needs_bytes"] < large["needs_bytes"]
    assert unknown["head"] is None

    swarm.stop("ada")
    swarm.start("eve", [swarm.address("door")], "--run", run)
    picture = tmp_path / "heart.png"
    drawing = swarm.run(
        "eve",
        "fetch-and-sample",
        "heart",
        "--strategy",
        "full",
        "--sampler",
        "unipc",
        "--steps",
        "3",
        "-o",
        str(picture),
    )
    drawing.finish()
    origin = read_provenance(picture)[0]
    assert set(origin["expert_weights"]) == {"0", "1"}
    assert 0 < origin["lost_mass"] < 1
    assert origin["sampler"] == "unipc"
