"""Two runs in one home, with real processes: served, trained and sampled at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from paris_p2p.home import Home
from paris_p2p.sampling.pictures import read_provenance
from peers.local_swarm import LocalSwarm, Process, local_swarm, wait_until
from tests.chaos.small_run import publish_router, seed_small_run

pytestmark = [pytest.mark.timeout(600), pytest.mark.process]

NAMES = ("first-run", "second-run")


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[LocalSwarm]:
    with local_swarm(tmp_path) as made:
        yield made


@pytest.mark.slow
def test_two_runs_in_one_home_are_served_trained_and_sampled_at_once(
    swarm: LocalSwarm, tmp_path: Path
) -> None:
    door = Home(swarm.home("door"))
    runs = [seed_small_run(door, time.time(), 1, name=name) for name in NAMES]
    for run in runs:
        publish_router(door, run)
    first, second = (run.hex() for run in runs)
    swarm.start("door", (), "--run", first, "--run", second)
    swarm.start("ada", [swarm.address("door")], "--run", first)
    swarm.run("ada", "run join", second).finish()

    for job in [_train(swarm, name) for name in NAMES]:
        assert job.finish()[-1]["event"] == "released"

    def door_has_all_heads() -> bool:
        runs = swarm.status("door")["runs"]
        return all(slot["held"] for run in runs for slot in run["slots"])

    wait_until(door_has_all_heads, "the door to hold the heads of both runs", 180)
    (told,) = swarm.run("ada", "run list").finish()
    assert {run["name"] for run in told["runs"]} == set(NAMES)

    swarm.stop("ada")
    pictures = [tmp_path / f"{name}.png" for name in NAMES]
    drawing = [
        swarm.run(
            "door", "fetch-and-sample", "heart", "--steps", "2", "-o", str(file), "--run", name
        )
        for name, file in zip(NAMES, pictures, strict=True)
    ]
    for command in drawing:
        command.finish()
    origins = [read_provenance(file)[0]["run"]["id"] for file in pictures]
    assert origins == [first, second]

    (left,) = swarm.run("door", "run leave", NAMES[0]).finish()
    assert left == {"left": first}
    assert [run["name"] for run in swarm.status("door")["runs"]] == [NAMES[1]]


def _train(swarm: LocalSwarm, run: str) -> Process:
    steps = ("--steps", "2", "--threads", "1")
    return swarm.run("ada", "claim-expert", "--expert", "0", "--run", run, *steps)
