"""Drawing as a job, by a real process on a run of two tiny experts."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.errors import WorkerDied
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.sampling import process_job, sampling_job
from paris_p2p.peer.sampling.answers import Answers
from paris_p2p.peer.sampling.sampling_job import SamplingJob
from paris_p2p.peer.sampling.worker_handle import Sampler, Senseless
from paris_p2p.records.run import Artefact
from paris_p2p.sampling.pictures import read_provenance
from paris_p2p.sampling.request import SampleRequest
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore
from tests.peer.worlds import CREATOR, PeerWorld, head_of
from tests.sampling.shelf import Shelf, make_tiny_run
from tests.sampling.shelf import full_shelf as full_shelf  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.process]

REQUEST = SampleRequest(("a red apple",), steps=2, strategy="full", seed=5)
LONG = replace(REQUEST, steps=1000)


@dataclass
class Studio:
    """A peer that holds a whole run, and its sampling process."""

    peer: Membership
    liar: Membership
    sampler: Sampler

    def job(self, request: SampleRequest = REQUEST) -> SamplingJob:
        return SamplingJob(self.peer, self.sampler, request)

    async def draw(self, request: SampleRequest = REQUEST) -> list[dict[str, Any]]:
        return [event async for event in self.job(request).events()]


@pytest.fixture
async def studio(tmp_path: Path, full_shelf: Shelf) -> AsyncIterator[Studio]:
    aside = Blobs(ChunkStore(tmp_path / "aside"), tmp_path / "aside-cache")
    files = {name: full_shelf.fetch(name) for name in ("a" * 64, "b" * 64)}
    ids = {name: aside.add_file(file, "encoder", name).id for name, file in files.items()}
    run = replace(
        make_tiny_run(full_shelf),
        autoencoder=Artefact("content", ids["a" * 64].hex()),
        text_encoder=Artefact("content", ids["b" * 64].hex()),
    )
    world = PeerWorld(tmp_path, sealed=run.seal(CREATOR))
    peer, liar = await world.join(), await world.join()
    for name, file in files.items():
        peer.node.blobs.add_file(file, "encoder", name)
    for slot in run.slots():
        publish(peer, full_shelf, f"head-{slot}", slot, step=3)
    sampler = Sampler(peer.node.home.log_file)
    yield Studio(peer, liar, sampler)
    await sampler.close()


def publish(
    peer: Membership,
    shelf: Shelf,
    name: str,
    slot: int,
    step: int,
    author: Membership | None = None,
) -> bytes:
    """Let `peer` hold a head, its own unless it is another's."""
    author = author or peer
    content = peer.node.blobs.add_file(shelf.fetch(name), "checkpoint", name).id
    peer.heads.add(head_of(author, slot, step, content).seal(author.node.identity))
    return content


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(event["event"] for event in events))


async def test_prompts_become_pictures_by_one_process_that_keeps_what_it_built(
    studio: Studio, full_shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    honest = Answers.to

    def to(self: Answers, question: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        asked.append(question["ask"])
        return honest(self, question)

    monkeypatch.setattr(Answers, "to", to)
    first = await studio.draw()
    process = studio.sampler.process
    assert process is not None
    assert kinds(first) == ["looking", "loading", "sampling", "sampled"]
    assert sorted(asked) == ["fetch", "fetch", "fetch-head", "fetch-head", "fetch-head"]
    asked.clear()
    assert first[-2] == {**first[-2], "step": 2, "steps": 2}
    picture = Path(first[-1]["file"])
    assert picture.parent == studio.peer.node.home.cache_dir / "pictures"
    assert read_provenance(picture) == first[-1]["images"]
    assert first[-1]["fetched"] == 0

    second = await studio.draw(replace(REQUEST, seed=6))
    assert studio.sampler.process is process
    assert asked == []
    assert second[-1]["images"][0]["heads"] == first[-1]["images"][0]["heads"]

    worse = publish(studio.peer, full_shelf, "explosive-0", 0, 10**6, studio.liar)
    third = await studio.draw()
    assert picture.read_bytes() == Path(third[-1]["file"]).read_bytes()
    assert studio.peer.node.refusals.is_condemned(worse, studio.liar.node.identity.author)
    assert "warning" in kinds(third)


async def test_a_job_tells_the_bytes_that_came_fails_with_its_process_and_can_be_stopped(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Answers.to

    async def to(self: Answers, question: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        for come in (400, 1000):
            content = f"{question['ask']} {question.get('slot')}"
            yield {"event": "fetching", "content": content, "bytes": come, "total": 1000}
            yield {"event": "fetching", "content": "another", "bytes": 30, "total": 30}
        async for event in honest(self, question):
            yield event

    with monkeypatch.context() as patched:
        patched.setattr(Answers, "to", to)
        seen = await studio.draw()
    assert seen[-1]["fetched"] == 4 * 1000 + 30

    job = studio.job(LONG)
    with pytest.raises(WorkerDied, match="SIGKILL"):
        async with aclosing(job.events()) as events:
            async for event in events:
                if event["event"] == "sampling" and studio.sampler.process is not None:
                    os.kill(studio.sampler.process.pid, signal.SIGKILL)

    job, seen = studio.job(LONG), []
    async for event in job.events():
        seen.append(event)
        if event["event"] == "sampling":
            job.stop()
    assert kinds(seen)[-1] == "sampling"
    process = studio.sampler.process
    assert process is not None

    assert (await studio.draw())[-1]["event"] == "sampled"
    assert studio.sampler.process is process


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"event": "released"},
        {"event": "exported", "experts": [0]},
        {"event": ["sampling"]},
        {"event": "sampling", "step": 1, "steps": 2},
        {"event": "sampling", "step": "1", "steps": 2, "steps_per_second": 1.0},
        {"event": "warning", "text": 5},
        {"event": "error", "message": 5, "remedy": ""},
        {"event": "error", "message": "it failed", "remedy": "", "exit_code": []},
    ],
)
def test_what_makes_no_sense_is_not_passed_on(message: dict[str, Any]) -> None:
    with pytest.raises(Senseless):
        process_job.told(message, "sampled")


NO_WEIGHTS = [{"lost_mass": 0}]
BAD_WEIGHTS = [{"lost_mass": 0, "expert_weights": {"1": "all"}}]


@pytest.mark.parametrize(
    "images", [None, [], [{}], [5], [{"lost_mass": "0"}], NO_WEIGHTS, BAD_WEIGHTS]
)
def test_pictures_that_say_nothing_of_their_origin_are_none(images: object) -> None:
    with pytest.raises(Senseless):
        sampling_job._images({"event": "sampled", "images": images}, 1)


def test_only_what_is_known_of_an_event_is_passed_on() -> None:
    numbers = {"event": "sampling", "step": 1, "steps": 2, "steps_per_second": 1.0}
    assert process_job.told({**numbers, "path": "/etc/passwd"}, "sampled") == numbers


async def test_a_job_that_is_stopped_before_its_turn_is_over_at_once(studio: Studio) -> None:
    async with studio.sampler.turn():
        job, seen = studio.job(), []
        async for event in job.events():
            seen.append(event["event"])
            job.stop()
    assert seen == ["queued"]
