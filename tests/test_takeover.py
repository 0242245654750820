"""A trainer dies by kill -9. Its heir goes on from its resume state, and leaves in good order."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paris_p2p.home import Home
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore
from paris_p2p.training.expert import train_expert
from paris_p2p.training.job import Job
from peers.local_swarm import Event, LocalSwarm, Process, local_swarm, wait_until
from tests.chaos.small_run import seed_small_run
from tests.training.jobs import same_content

pytestmark = [pytest.mark.timeout(600), pytest.mark.process]

PUBLISH_EVERY = 50
DUTY_CYCLE = ("--duty-cycle", "25%")
"""A step takes milliseconds. Seconds pass between two resume states, and a core is left."""
COPIED, TAKEN_OVER, PUBLISHED = 150, 240, 60
"""Seconds to wait at most, on a machine with other things to do."""


@pytest.fixture
def swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSwarm]:
    """All use one thread, so that the same steps give the same bits."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with local_swarm(tmp_path) as made:
        yield made
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_takeover_goes_on_from_the_resume_state_that_survived_and_leaves_all_published(
    swarm: LocalSwarm, tmp_path: Path
) -> None:
    survivors = [blobs(swarm, name) for name in ("door", "seed", "bela")]
    door = Home(swarm.home("door"))
    run = seed_small_run(door, time.time(), clusters=1, publish_every=PUBLISH_EVERY).hex()
    swarm.start("door", (), "--run", run)
    join = ([swarm.address("door")], "--run", run)
    ada = swarm.start("ada", *join, "--train", *DUTY_CYCLE)
    ada.first("resume_published", 120)
    swarm.start("seed", *join, "--seed-only")
    bela = swarm.start("bela", *join, "--train", "--no-replicate", *DUTY_CYCLE)

    def survived() -> list[Event]:
        """The resume states of ada that others hold, the furthest last."""
        return [
            state
            for state in every(ada, "resume_published")
            if any(store.complete(bytes.fromhex(state["manifest"])) for store in survivors)
        ]

    def newest_is_uncopied() -> bool:
        """Ada has gone on since a state of hers was copied."""
        return bool(held := survived()) and held[-1] != ada.last("resume_published")

    wait_until(newest_is_uncopied, "a copy of a resume state, and a newer one", COPIED)
    assert every(bela, "claimed") == []
    swarm.kill("ada")

    resumed = bela.first("resuming", TAKEN_OVER)
    state = survived()[-1]
    assert (resumed["from"], resumed["step"]) == ("resume", state["step"])
    assert resumed["by"] == ada.first("ready")["peer"]
    published = bela.first("published", PUBLISHED)
    assert published["step"] > state["step"]
    (shown,) = swarm.run_status("bela")["jobs"]
    assert shown["slot"] == bela.first("claimed")["slot"] == 0
    bela.popen.send_signal(signal.SIGINT)
    left = [event["event"] for event in bela.finish()]
    assert left[-3:] == ["published", "resume_published", "released"]

    job = Job.read(next(swarm.home("bela").glob("snapshots/*/slot-0/job.json")))
    alone = replace(
        job,
        resume_state=blobs(swarm, "ada").path(bytes.fromhex(state["manifest"])),
        out_dir=tmp_path / "alone",
        max_steps=published["step"] - state["step"],
    )
    *_, last = train_expert(alone)
    head = survivors[-1].path(bytes.fromhex(published["manifest"]))
    assert same_content(head, last.checkpoint)


def blobs(swarm: LocalSwarm, name: str) -> Blobs:
    """The store of a peer, as it lies on the disk."""
    home = Home(swarm.home(name))
    return Blobs(ChunkStore(home.store_dir), home.cache_dir)


def every(process: Process, kind: str) -> list[Event]:
    return [event for event in process.events if event.get("event") == kind]
