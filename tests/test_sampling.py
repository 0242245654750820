"""Prompt after prompt by commands of their own, on one running peer with one sampling process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from paris_p2p.errors import Interrupted, WorkerDied
from paris_p2p.sampling.pictures import read_provenance
from peers.local_swarm import LocalSwarm, Process, local_swarm, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[LocalSwarm]:
    with local_swarm(tmp_path) as made:
        yield made


def test_prompts_share_a_process_which_ends_with_its_peer(swarm: LocalSwarm) -> None:
    peer = swarm.start("ada", (), "--seed-shipped-run").popen

    draw(swarm, "red apple").finish()
    (worker,) = workers_of(peer.pid)
    draw(swarm, "cat face").finish()
    assert workers_of(peer.pid) == [worker]
    assert read_provenance(swarm.folder / "picture.png")[0]["prompt"] == "cat face"

    stopped = draw(swarm, "cookie", steps=1000)
    stopped.first("sampling")
    stopped.popen.send_signal(signal.SIGINT)
    assert stopped.popen.wait(60) == Interrupted.exit_code
    draw(swarm, "cookie").finish()
    assert workers_of(peer.pid) == [worker]

    killed = draw(swarm, "cookie", steps=1000)
    killed.first("sampling")
    worker.kill()
    assert killed.popen.wait(60) == WorkerDied.exit_code
    assert killed.words().startswith("error: the sampling process was killed (SIGKILL")
    assert len(killed.words().splitlines()) == 1

    draw(swarm, "cookie").finish()
    (another,) = workers_of(peer.pid)
    assert another != worker
    os.kill(peer.pid, signal.SIGKILL)
    wait_until(lambda: not another.is_running(), "the sampling process to end", 60)


def draw(swarm: LocalSwarm, prompt: str, steps: int = 2) -> Process:
    picture = swarm.folder / "picture.png"
    return swarm.run("ada", "fetch-and-sample", prompt, "--steps", str(steps), "-o", str(picture))


def workers_of(pid: int) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(pid).children()
        if "paris_p2p.sampling.worker" in process.cmdline()
    ]
