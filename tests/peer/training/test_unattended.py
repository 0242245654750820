"""Unattended training on a memory network, with a stand-in for the training process."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.peer.books.resume_states import learn_resumes
from paris_p2p.peer.jobs import Jobs
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training import unattended
from paris_p2p.peer.training.assignment import TrainingRequest
from paris_p2p.peer.training.training_job import TrainingJob
from paris_p2p.peer.training.unattended import (
    LONGEST_PAUSE,
    UnattendedTraining,
    pause_after,
    turns_of,
)
from paris_p2p.records.claim import LEASE
from tests.peer.stand_in import StandIn, install
from tests.peer.worlds import CREATOR, Clock, PeerWorld, eventually, hold


class CrashesAtFirst(StandIn):
    """Three times, before it does anything."""

    async def work(self) -> None:
        marker = self.folder / "crashed"
        crashes = len(marker.read_text()) if marker.exists() else 0
        if crashes < 3:
            marker.write_text("." * (crashes + 1))
            self.end(13)
        await super().work()


class CrashesAtTheFirstSlot(StandIn):
    """Always, at whatever slot it is given first."""

    async def work(self) -> None:
        first = self.folder.parent / "first"
        if not first.exists():
            first.write_text(self.folder.name)
        if first.read_text() == self.folder.name:
            self.end(13)
        await super().work()


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


class Unattended:
    """A volunteer at work, and what it told."""

    def __init__(self, peer: Membership) -> None:
        self.events: list[dict[str, Any]] = []
        self.jobs = Jobs(peer.node.clock)
        self.volunteer = UnattendedTraining(peer.node, self.jobs, self.events.append)

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


@asynccontextmanager
async def left_alone(peer: Membership) -> AsyncIterator[Unattended]:
    made = Unattended(peer)
    running = asyncio.create_task(made.volunteer.run())
    try:
        yield made
    finally:
        made.volunteer.stop()
        await running


async def train(peer: Membership, slot: int) -> tuple[TrainingJob, asyncio.Task[None]]:
    """A job of `peer` that goes on, once it has published a resume state."""
    job = TrainingJob(peer, TrainingRequest(expert=slot))

    async def follow() -> None:
        async for _ in job.events():
            pass

    following = asyncio.create_task(follow())
    await eventually(lambda: peer.resumes.of(slot))
    return job, following


async def test_training_goes_on_where_nobody_can_be_told_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Standard output may break at any time: it must not end what it tells of."""
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    await hold(peer, 1)
    told: list[str] = []

    def tell(event: dict[str, Any]) -> None:
        told.append(event["event"])
        raise BrokenPipeError

    volunteer = UnattendedTraining(peer.node, Jobs(peer.node.clock), tell)
    running = asyncio.create_task(volunteer.run())
    await eventually(lambda: "published" in told)
    assert not running.done()
    volunteer.stop()
    await running
    assert told[-1] == "released"
    assert [record.message for record in caplog.records if "reported" in record.message] == [
        "training events cannot be reported; training goes on"
    ]


async def test_an_orphaned_expert_is_taken_over_exactly_and_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    world = PeerWorld(tmp_path, MemoryNetwork(clock))
    doomed, keeper, heir = [await world.join() for _ in range(3)]
    await hold(doomed, 0)
    await hold(keeper, 0)
    job, following = await train(doomed, 0)
    state = doomed.resumes.of(0)[0]

    async def has_heard() -> bool:
        await learn_resumes(keeper, [0])
        return bool(keeper.resumes.naming(state.manifest))

    await eventually(has_heard)
    await keeper.fetch(state.manifest)
    await keeper.announcer.content(state.manifest)
    heir.training.add(1)  # busy with the other expert: only the orphan is left

    async with left_alone(heir) as alone:
        await eventually(lambda: alone.told("looking"))
        world.network.drop(doomed.node.identity.author)
        clock.ahead = LEASE + 1
        await eventually(lambda: alone.told("published"))
        assert [job.slot for job in alone.jobs.running()] == [0]

    (resumed,) = alone.told("resuming")
    assert (resumed["from"], resumed["step"]) == ("resume", state.step)
    assert resumed["by"] == doomed.node.identity.peer_id
    given = json.loads((heir.slot_folder(0) / "job.json").read_text())
    assert Path(given["resume_state"]).read_bytes() == b"state at step 1"
    assert (given["start_step"], given["start_images"]) == (state.step, state.images)
    assert alone.events[-1]["event"] == "released"
    assert alone.jobs.running() == []
    job.stop()
    await following


async def test_a_claim_is_a_job_and_one_that_is_stopped_leaves_its_expert_to_others(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    await hold(peer, 1)

    async with left_alone(peer) as alone:
        await eventually(lambda: alone.told("published"))
        (job,) = alone.jobs.running()
        job.stop()
        await eventually(lambda: len(alone.told("claimed")) == 2)

    assert (job.kind, job.outcome) == ("training", "stopped")
    first, second = (event["slot"] for event in alone.told("claimed"))
    assert (job.slot, second) == (first, 1 - first)


async def test_a_trainer_that_crashes_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, CrashesAtFirst)
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    await hold(peer, 1)

    async with left_alone(peer) as alone:
        await eventually(lambda: alone.told("published"))

    assert "ended with code 13" in alone.told("waiting")[0]["reason"]
    assert len(alone.told("looking")) == len(alone.told("claimed"))


async def test_an_expert_that_cannot_be_trained_here_does_not_stand_before_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, CrashesAtTheFirstSlot)
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    await hold(peer, 1)

    async with left_alone(peer) as alone:
        await eventually(lambda: alone.told("published"))

    first, second = (event["slot"] for event in alone.told("claimed")[:2])
    assert first != second
    assert {event["slot"] for event in alone.told("published")} == {second}


async def test_the_only_expert_that_is_free_is_tried_again_although_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, CrashesAtTheFirstSlot)
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    peer.training.add(1)

    async with left_alone(peer) as alone:
        await eventually(lambda: len(alone.told("claimed")) >= 2)

    assert {event["slot"] for event in alone.told("claimed")} == {0}
    assert any("every expert" in event["reason"] for event in alone.told("waiting"))


async def test_what_nobody_foresaw_is_tried_again_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    await hold(peer, 1)
    broken = iter([True])
    sound = peer.node.blobs.path

    def path(content: bytes) -> Path:
        if next(broken, False):
            raise ZeroDivisionError("unforeseen")
        return sound(content)

    monkeypatch.setattr(peer.node.blobs, "path", path)
    async with left_alone(peer) as alone:
        await eventually(lambda: alone.told("published"))

    assert "unforeseen" in alone.told("waiting")[0]["reason"]


async def test_one_that_is_stopped_while_all_are_held_ends(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    peer.training |= {0, 1}

    async with left_alone(peer) as alone:
        await eventually(lambda: alone.told("looking"))

    assert alone.told("claimed") == []


async def test_a_listener_that_fails_does_not_end_the_training(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    await hold(peer, 0)
    await hold(peer, 1)
    told: list[str] = []

    def tell(event: dict[str, Any]) -> None:
        told.append(event["event"])
        raise BrokenPipeError("the terminal is gone")

    volunteer = UnattendedTraining(peer.node, Jobs(peer.node.clock), tell)
    running = asyncio.create_task(volunteer.run())
    await eventually(lambda: "published" in told)
    volunteer.stop()
    await running
    assert told[-1] == "released" and "waiting" not in told


def test_the_pause_grows_with_every_failure_up_to_a_bound() -> None:
    rng = random.Random(1)
    assert pause_after(0, rng) <= 1.2 * unattended.FIRST_PAUSE
    assert pause_after(3, rng) > pause_after(0, rng)
    assert 0.8 * LONGEST_PAUSE <= pause_after(10**9, rng) <= 1.2 * LONGEST_PAUSE


async def test_a_run_without_data_never_has_a_turn(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    bare = replace(peer.run, name="imported", shards=())
    imported = await world.take_part(peer.node, replace(bare, author=CREATOR.author).seal(CREATOR))
    assert turns_of([imported, peer]) == [peer]
    assert turns_of([imported]) == []
