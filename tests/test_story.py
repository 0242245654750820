"""The whole story with real processes: join, claim, train, die, take over, fetch, sample."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from paris_p2p.sampling.pictures import read_provenance
from peers.local_swarm import Event, LocalSwarm, SwarmProblem, local_swarm, wait_until

pytestmark = [pytest.mark.timeout(900), pytest.mark.process]


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[LocalSwarm]:
    with local_swarm(tmp_path) as made:
        yield made


@pytest.mark.slow
def test_work_outlives_its_peer_and_interrupts_and_a_newcomer_samples_without_the_bootstrap(
    swarm: LocalSwarm, tmp_path: Path
) -> None:
    swarm.start("bootstrap", (), "--seed-shipped-run")
    door = swarm.address("bootstrap")
    for name in ("ada", "bela"):
        swarm.start(name, [door])

    doomed = swarm.run("ada", "claim-expert", "--threads", "1")
    slot = doomed.first("claimed", 60)
    start = doomed.first("resuming", 120)
    assert start["from"] == "head" and start["step"] > 0
    doomed.first("snapshot", 240)
    swarm.kill("ada")

    expert = str(slot["slot"])
    wait_until(lambda: _unclaimed(swarm, "bela", slot["name"]), "the lease to lapse", 150)
    claim = ("bela", "claim-expert", "--expert", expert, "--threads", "1")
    heir = swarm.run(*claim)
    heir.first("progress", 120)
    heir.popen.send_signal(signal.SIGINT)
    events = heir.finish()
    assert events[-1]["event"] == "released"
    stopped_at = _published(events)[-1]
    assert stopped_at > start["step"]
    again = swarm.run(*claim, "--steps", "3")
    resumed = again.first("resuming", 120)
    assert (resumed["from"], resumed["step"]) == ("snapshot", stopped_at)
    events = again.finish()
    assert events[-1]["event"] == "released"
    assert _published(events)[-1] == stopped_at + 3

    def bela_serves_everything() -> bool:
        """Holds it and has said so: the bootstrap, which holds all, counts itself and her."""
        told = swarm.run_status("bootstrap")["contents"] + swarm.run_status("bela")["contents"]
        return all(content["held"] and content["providers"] >= 2 for content in told)

    wait_until(bela_serves_everything, "bela to serve everything", 180)
    swarm.stop("bootstrap")

    swarm.start("eve", [swarm.address("bela")])
    picture = tmp_path / "apple.png"
    sampling = swarm.run(
        "eve", "fetch-and-sample", "red apple, 3d style", "--steps", "4", "-o", str(picture)
    )
    sampling.finish()
    origin = read_provenance(picture)[0]
    assert origin["prompt"] == "red apple, 3d style"
    assert origin["lost_mass"] == 0
    assert "router" in origin["heads"]
    assert swarm.status("eve")["peer"]["received_bytes"] > 0


def test_a_second_process_on_the_same_home_is_refused(swarm: LocalSwarm) -> None:
    swarm.start("ada", (), "--no-seed-shipped-run")
    second = swarm.run("ada", "start")
    with pytest.raises(SwarmProblem, match=r"ended with 3: error: the home .* is in use"):
        second.first("ready")


@pytest.mark.slow
def test_no_peer_has_the_run(swarm: LocalSwarm) -> None:
    swarm.start("ada", (), "--no-seed-shipped-run")
    lost = swarm.run("bela", "start", "--bootstrap", swarm.address("ada"), "--run", "ab" * 32)
    with pytest.raises(SwarmProblem, match="ended with 6"):
        lost.first("ready")


def _published(events: list[Event]) -> list[int]:
    """The steps of the checkpoints that a command told of."""
    return [event["step"] for event in events if event["event"] == "published"]


def _unclaimed(swarm: LocalSwarm, name: str, slot: str) -> bool:
    return all(
        row["claim"] is None for row in swarm.run_status(name)["slots"] if row["name"] == slot
    )
