"""A claimed slot from lease to release, with a stand-in for the training process."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.errors import (
    BadContent,
    DiskFull,
    Held,
    NotAvailable,
    ParisError,
    TrainingDiverged,
    WorkerDied,
)
from paris_p2p.identity import peer_id_of
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, serve_chunks
from paris_p2p.network.swarm import Stream
from paris_p2p.peer.books.resume_states import learn_resumes
from paris_p2p.peer.books.survey import read_claims
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.serving import ChunkReader
from paris_p2p.peer.training import starting_order, training_job, worker_handle
from paris_p2p.peer.training.assignment import TrainingRequest
from paris_p2p.peer.training.claiming import claimant_of
from paris_p2p.peer.training.snapshots import snapshots
from paris_p2p.peer.training.training_job import TrainingJob
from paris_p2p.peer.transfer.proof_of_storage import is_served
from paris_p2p.peer.transfer.racing import LeastPace, StillComing
from paris_p2p.records.head import Head
from paris_p2p.records.manifest import CHUNK_SIZE
from paris_p2p.records.resume import Resume
from paris_p2p.training.worker import alone_in
from tests.peer.stand_in import StandIn, install
from tests.peer.worlds import CREATOR, PeerWorld, eventually, head_of, hold


class Killed(StandIn):
    """Killed by its machine over all it can start from; over b"killed once" the first time only."""

    def examine(self, content: bytes) -> None:
        spared = self.folder / "spared"
        if content and not spared.exists():
            if content == b"killed once":
                spared.touch()
            self.end(-signal.SIGKILL)
        super().examine(content)


class DiskIsFull(StandIn):
    def examine(self, content: bytes) -> None:
        if content:
            self.fail("no room left on the disk", 8)


class ShardIsBad(StandIn):
    def examine(self, content: bytes) -> None:
        if content:
            self.fail("the shard is damaged", 4)


class EndsInNothing(StandIn):
    """Writes its state, too; far ahead, the figures of its checkpoint are absurd."""

    def write(self, kind: str, content: bytes, **figures: float) -> None:
        if kind == "checkpoint":
            super().write("snapshot", b"own state")
            figures["held_out_loss"] = 1e9 if self.step > 2**40 else 0.4
        super().write(kind, content, **figures)


class KilledByPoison(StandIn):
    def examine(self, content: bytes) -> None:
        if content == b"poison":
            self.end(-signal.SIGSEGV)


class Diverging(StandIn):
    def examine(self, content: bytes) -> None:
        self.fail("the loss exploded", 11)


class Frozen(StandIn):
    async def work(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


async def trainer(world: PeerWorld) -> Membership:
    peer = await world.join()
    await hold(peer, 0)
    return peer


async def run(peer: Membership, steps: int | None = 1) -> list[dict[str, Any]]:
    job = TrainingJob(peer, TrainingRequest(expert=0, max_steps=steps))
    return [event async for event in job.events()]


def publish_state(peer: Membership, state: bytes, step: int, created: float = 1000.0) -> None:
    content = peer.node.blobs.add_bytes(state, "resume", "expert-0.safetensors")
    resume = Resume(
        run=peer.run_id,
        expert=0,
        author=peer.node.identity.author,
        step=step,
        images=2 * step,
        manifest=content.id,
        size=content.size,
        created=created,
    )
    peer.resumes.add(resume.seal(peer.node.identity))


def publish(peer: Membership, weights: bytes, step: int) -> None:
    content = peer.node.blobs.add_bytes(weights, "checkpoint", "expert-0.safetensors").id
    peer.heads.add(head_of(peer, 0, step, content).seal(peer.node.identity))


async def test_what_the_run_is_made_of_stays_while_it_is_trained(tmp_path: Path) -> None:
    peer = await trainer(PeerWorld(tmp_path))
    needed = peer.run.content_ids()
    async for event in TrainingJob(peer, TrainingRequest(expert=0, max_steps=1)).events():
        if event["event"] == "progress":
            assert peer.node.in_use.keys() >= needed
            assert not await peer.node.let_go(min(needed))
    assert not peer.node.in_use.keys() & needed


async def test_a_job_claims_trains_publishes_and_releases(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer, other = await trainer(world), await world.join()

    events = await run(peer)

    kinds = [event["event"] for event in events]
    assert kinds[0] == "claimed" and kinds[-1] == "released"
    published = next(event for event in events if event["event"] == "published")
    await other.survey()
    head = other.heads.of(0)[0]
    assert (head.step, head.manifest.hex()) == (1, published["manifest"])
    await other.fetch(head.manifest)
    assert other.node.blobs.read(head.manifest) == b"weights at step 1"
    assert [resume.step for resume in peer.resumes.of(0)] == [1]
    assert not [*peer.slot_folder(0).glob("checkpoint-*"), *peer.slot_folder(0).glob("resume-*")]
    assert peer.training == set()
    assert all(state.winner is None for state in await other.survey())


async def test_training_goes_on_from_the_newest_published_head(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer, author = await trainer(world), await world.join()
    publish(author, b"weights at step 40", 40)
    await author.announcer.everything()

    events = await run(peer)

    resumed = next(event for event in events if event["event"] == "resuming")
    assert (resumed["from"], resumed["step"]) == ("head", 40)
    head = max(peer.heads.of(0), key=lambda head: head.step)
    assert (head.step, head.parent) == (41, author.heads.of(0)[0].manifest)
    (entry,) = peer.node.contributions.entries(peer.node.identity.author)
    assert (entry.head, entry.gained) == (head, 1)


async def test_training_goes_on_from_a_resume_state_rather_than_from_the_heads_after_it(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer, author = await trainer(world), await world.join()
    last = 40 + peer.run.recipe.resume_every - 1
    publish(author, b"weights of the last checkpoint", last)
    publish_state(author, b"state at step 40", 40)
    await author.announcer.everything()

    events = await run(peer)

    resumed = next(event for event in events if event["event"] == "resuming")
    by = peer_id_of(author.node.identity.author)
    assert (resumed["from"], resumed["step"], resumed["by"]) == ("resume", 40, by)
    job = json.loads((peer.slot_folder(0) / "job.json").read_text())
    assert Path(job["resume_state"]).read_bytes() == b"state at step 40"
    assert (job["start_step"], job["start_images"], job["start_from"]) == (40, 80, None)
    (head,) = [head for head in peer.heads.of(0) if head.author == peer.node.identity.author]
    assert (head.step, head.parent) == (41, None)


async def test_resume_states_that_do_not_check_are_passed_over_and_told(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer, honest, liar = await trainer(world), await world.join(), await world.join()
    publish_state(honest, b"state at step 40", 40)
    publish_state(liar, b"poison", 10**9)
    for author in (honest, liar):
        await author.announcer.everything()

    events = await run(peer)

    (told,) = [event for event in events if event["event"] == "passed_over"]
    assert (told["from"], told["step"]) == ("resume", 10**9)
    assert (told["by"], told["reason"]) == (liar.node.identity.peer_id, "tensor x is missing")
    assert [event["step"] for event in events if event["event"] == "published"] == [41]


async def test_a_resume_state_larger_than_the_run_allows_is_not_fetched(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer, liar = await trainer(world), await world.join()
    publish_state(liar, bytes(peer.run.resume_limit(0) + 1), 10**9)
    await liar.announcer.everything()

    events = await run(peer)

    (told,) = [event for event in events if event["event"] == "passed_over"]
    assert "larger" in told["reason"] or "over" in told["reason"]
    assert not peer.node.blobs.complete(liar.resumes.of(0)[0].manifest)
    assert [event["step"] for event in events if event["event"] == "published"] == [1]


@pytest.mark.parametrize("weights", [b"poison", b"explosive"])
async def test_a_head_that_cannot_be_trained_on_is_passed_over(
    tmp_path: Path, weights: bytes
) -> None:
    world = PeerWorld(tmp_path)
    peer, honest, liar = await trainer(world), await world.join(), await world.join()
    publish(honest, b"weights at step 40", 40)
    publish(liar, weights, 10**9)
    for author in (honest, liar):
        await author.announcer.everything()

    events = await run(peer)

    steps = [event["step"] for event in events if event["event"] == "published"]
    assert steps == [41]


@pytest.mark.parametrize("fault", [Killed, DiskIsFull])
async def test_a_fault_of_this_machine_throws_no_work_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[StandIn]
) -> None:
    install(monkeypatch, fault)
    world = PeerWorld(tmp_path)
    peer, author = await trainer(world), await world.join()
    publish(author, b"weights at step 40", 40)
    await author.announcer.everything()

    events: list[dict[str, Any]] = []
    with pytest.raises((WorkerDied, DiskFull)):
        async for event in TrainingJob(peer, TrainingRequest(expert=0, max_steps=1)).events():
            events.append(event)

    tried = [(e["from"], e["step"]) for e in events if e["event"] == "resuming"]
    assert tried == [("head", 40)] * (1 + len(training_job.RETRY_PAUSES))
    assert [event["from"] for event in events if event["event"] == "retrying"] == ["head"] * 2
    assert peer.node.refusals.all() == []
    assert [head.author for head in peer.heads.of(0)] == [author.node.identity.author]


async def test_a_worker_killed_once_before_its_first_step_goes_on_from_the_same_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Killed)
    world = PeerWorld(tmp_path)
    peer, author = await trainer(world), await world.join()
    publish(author, b"killed once", 40)
    await author.announcer.everything()

    events = await run(peer)

    assert [event["step"] for event in events if event["event"] == "published"] == [41]
    assert peer.node.refusals.all() == []


async def test_what_a_machine_cannot_start_from_gives_way_to_another_but_not_to_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Killed)
    world = PeerWorld(tmp_path)
    peer, honest, large = await trainer(world), await world.join(), await world.join()
    publish(honest, b"killed once", 40)
    publish(large, b"needs more memory than there is", 50)
    for author in (honest, large):
        await author.announcer.everything()

    events = await run(peer)

    (told,) = [event for event in events if event["event"] == "passed_over"]
    assert told["step"] == 50 and "SIGKILL" in told["reason"]
    assert [event["step"] for event in events if event["event"] == "published"] == [41]
    assert peer.node.refusals.all() == []


async def test_an_own_snapshot_that_the_machine_fails_at_stays_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Killed)
    world = PeerWorld(tmp_path)
    peer, author = await trainer(world), await world.join()
    publish(author, b"weights at step 40", 40)
    await author.announcer.everything()
    snapshot = peer.slot_folder(0) / "snapshot-000000090.safetensors"
    snapshot.write_bytes(b"own state")

    with pytest.raises(WorkerDied, match="SIGKILL"):
        await run(peer)

    assert snapshot.exists()
    assert [head.step for head in peer.heads.of(0)] == [40]


async def test_a_damaged_shard_says_nothing_about_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, ShardIsBad)
    world = PeerWorld(tmp_path)
    peer, author = await trainer(world), await world.join()
    publish(author, b"weights at step 40", 40)
    await author.announcer.everything()
    with pytest.raises(BadContent, match="shard"):
        await run(peer)
    assert peer.node.refusals.all() == []


async def test_a_state_that_leads_to_nothing_publishable_gives_way_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, EndsInNothing)
    world = PeerWorld(tmp_path)
    peer, honest, liar = await trainer(world), await world.join(), await world.join()
    publish(honest, b"weights at step 100", 100)
    publish(liar, b"of no use", 2**44)
    for author in (honest, liar):
        await author.announcer.everything()
    own = peer.slot_folder(0) / "snapshot-000000030.safetensors"
    own.write_bytes(b"own state")

    events = await run(peer)

    (told,) = [event for event in events if event["event"] == "passed_over"]
    assert told["step"] == 2**44 and "cannot be published: held_out_loss" in told["reason"]
    assert [event["step"] for event in events if event["event"] == "published"] == [101]
    assert events[-1]["event"] == "released"
    assert peer.node.refusals.is_condemned(liar.heads.of(0)[0].manifest, liar.node.identity.author)
    assert [path.name for path in snapshots(peer.slot_folder(0))] == [
        "snapshot-000000101.safetensors",
        own.name,
    ]


async def test_a_head_that_leaves_no_room_to_train_is_condemned_without_a_byte_of_it(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer, liar = await trainer(world), await world.join()
    publish(liar, b"weights", 2**45)
    await liar.announcer.everything()

    events = await run(peer)

    (told,) = [event for event in events if event["event"] == "passed_over"]
    assert told["step"] == 2**45 and "no room to train" in told["reason"]
    assert [event["step"] for event in events if event["event"] == "published"] == [1]
    (content,) = [head.manifest for head in liar.heads.of(0)]
    assert peer.node.refusals.is_condemned(content, liar.node.identity.author)
    assert not peer.node.blobs.complete(content)


async def test_a_damaged_snapshot_does_not_hide_a_sound_one(tmp_path: Path) -> None:
    peer = await trainer(PeerWorld(tmp_path))
    folder = peer.slot_folder(0)
    (folder / "snapshot-000000030.safetensors").write_bytes(b"own state")
    (folder / "snapshot-000000090.safetensors").write_bytes(b"poison")

    events = await run(peer)

    (told,) = [event for event in events if event["event"] == "passed_over"]
    kept = folder / "failed-000000090.safetensors"
    assert (told["from"], told["step"]) == ("snapshot", 90) and str(kept) in told["reason"]
    assert kept.read_bytes() == b"poison"
    assert [event["step"] for event in events if event["event"] == "published"] == [31]


async def test_the_time_that_training_took_does_not_depend_on_the_wall_clock(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    job = TrainingJob(peer, TrainingRequest(expert=0))
    seconds = []
    async for event in job.events():
        if event["event"] == "progress":
            seconds.append(event["seconds"])
            peer.node.clock = lambda: world.network.clock() - 3600
            await asyncio.sleep(100)
            job.stop()
    assert seconds == pytest.approx([0, 100])


async def test_a_head_that_nobody_serves_is_passed_over(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer, honest = await trainer(world), await world.join()
    publish(honest, b"weights at step 40", 40)
    await honest.announcer.everything()
    liar = await world.join()
    peer.heads.add(head_of(liar, 0, 10**9, b"n" * 32).seal(liar.node.identity))

    events = await run(peer)

    assert [e["step"] for e in events if e["event"] == "published"] == [41]


async def test_what_died_uncopied_is_not_waited_for_while_an_older_state_is_at_hand(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer, author, keeper = await trainer(world), await world.join(), await world.join()
    publish_state(author, b"state at step 40", 40, created=1.0)
    await author.announcer.everything()
    await learn_resumes(keeper, [0])
    (copied,) = keeper.resumes.of(0)
    await keeper.fetch(copied.manifest)
    await keeper.announcer.content(copied.manifest)
    publish_state(author, b"state at step 80", 80, created=2.0)
    publish(author, b"weights at step 90", 90)
    await author.announcer.everything()
    world.network.drop(author.node.identity.author)

    events = await run(peer)

    assert [event for event in events if event["event"] == "passed_over"] == []
    resumed = next(event for event in events if event["event"] == "resuming")
    assert (resumed["from"], resumed["step"]) == ("resume", 40)
    assert resumed["by"] == author.node.identity.peer_id


async def test_what_nobody_serves_now_is_waited_for_before_all_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked_too_early(peer: Membership, content: bytes) -> bool:
        answer = await is_served(peer, content)
        world.network.heal()
        return answer

    monkeypatch.setattr(training_job, "is_served", asked_too_early)
    world = PeerWorld(tmp_path)
    peer, author = await trainer(world), await world.join()
    publish_state(author, b"state at step 40", 40)
    await author.announcer.everything()
    world.network.partition({author.node.identity.author}, {peer.node.identity.author})

    events = await run(peer)

    resumed = next(event for event in events if event["event"] == "resuming")
    assert (resumed["from"], resumed["step"]) == ("resume", 40)


async def test_a_stopped_job_publishes_and_releases(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    job = TrainingJob(peer, TrainingRequest(expert=0))
    kinds = []
    async for event in job.events():
        kinds.append(event["event"])
        if event["event"] == "progress":
            job.stop()
    assert kinds[-4:] == ["published", "resume_published", "done", "released"]


async def test_publishing_does_not_hold_up_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    reached, released = asyncio.Event(), asyncio.Event()
    announce = peer.announcer.content

    async def stuck(content: bytes) -> None:
        reached.set()
        await released.wait()
        await announce(content)

    monkeypatch.setattr(peer.announcer, "content", stuck)
    job = TrainingJob(peer, TrainingRequest(expert=0))
    events: list[dict[str, Any]] = []

    async def follow() -> None:
        async for event in job.events():
            events.append(event)

    following = asyncio.create_task(follow())
    await reached.wait()
    job.stop()
    await eventually(lambda: [e["step"] for e in events if e["event"] == "progress"] == [1, 2])
    assert "published" not in [event["event"] for event in events]
    released.set()
    await following
    published = [event["step"] for event in events if event["event"] == "published"]
    assert published[-1] == 2
    assert peer.resumes.of(0)[0].step == 2


async def test_a_publication_that_fails_stops_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, kind: str, name: str) -> None:
        raise DiskFull("no room left on the disk")

    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    monkeypatch.setattr(peer.node.blobs, "add_file", full)
    with pytest.raises(DiskFull):
        await run(peer, steps=None)
    assert peer.training == set()


async def test_work_that_nobody_would_take_is_not_begun(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    peer.run = replace(peer.run, trusted_authors=(CREATOR.author,))
    with pytest.raises(NotAvailable, match="only from the authors that it names"):
        await run(peer)
    peer.run = replace(peer.run, trusted_authors=(CREATOR.author, peer.node.identity.author))
    assert (await run(peer))[-1]["event"] == "released"


async def test_a_job_that_waits_for_an_expert_can_be_stopped(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer, holder = await trainer(world), await world.join()
    lease = await claimant_of(holder).acquire(0)
    peer.training.add(1)
    job = TrainingJob(peer, TrainingRequest(wait=True))
    waiting = asyncio.ensure_future(anext(job.events(), None))
    done, _ = await asyncio.wait([waiting], timeout=0.5)
    assert not done
    job.stop()
    assert await waiting is None
    await lease.release()


async def test_a_job_stopped_while_its_claim_settles_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    peer, other = await trainer(world), await world.join()
    job = TrainingJob(peer, TrainingRequest(expert=0))
    announced, store = asyncio.Event(), peer.swarm.store

    async def announce(key: str, value: bytes, expires: float) -> bool:
        stored = await store(key, value, expires)
        announced.set()
        return stored

    monkeypatch.setattr(peer.swarm, "store", announce)
    claiming_ = asyncio.ensure_future(anext(job.events(), None))
    await announced.wait()
    assert await read_claims(other.swarm, other.run_id, 0)
    job.stop()
    assert await claiming_ is None
    assert await read_claims(other.swarm, other.run_id, 0) == []


async def test_two_jobs_of_a_peer_that_claim_at_once_do_not_train_the_same_slot(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer, other = await trainer(world), await world.join()
    first, second = (TrainingJob(peer, TrainingRequest(expert=0)) for _ in range(2))
    running = [first.events(), second.events()]

    claimed = await asyncio.gather(*map(anext, running), return_exceptions=True)

    (refused,) = [each for each in claimed if isinstance(each, BaseException)]
    assert isinstance(refused, Held)
    assert peer.training == {0}
    assert await read_claims(other.swarm, other.run_id, 0)
    for events in running:
        await events.aclose()
    assert peer.training == set()


async def test_a_job_stopped_while_it_waits_for_an_earlier_worker_ends(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    job = TrainingJob(peer, TrainingRequest(expert=0))
    with alone_in(peer.slot_folder(0)):
        events = job.events()
        assert (await anext(events))["event"] == "claimed"
        rest = asyncio.ensure_future(anext(events))
        done, _ = await asyncio.wait([rest], timeout=0.5)
        assert not done
        job.stop()
        async with asyncio.timeout(30):
            assert (await rest)["event"] == "released"


async def test_a_job_stopped_while_its_worker_starts_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    job = TrainingJob(peer, TrainingRequest(expert=0))
    spawn = worker_handle._spawn

    async def stopped_meanwhile(job_file: Path, log_file: Path) -> asyncio.subprocess.Process:
        process = await spawn(job_file, log_file)
        job.stop()
        return process

    monkeypatch.setattr(worker_handle, "_spawn", stopped_meanwhile)
    async with asyncio.timeout(30):
        kinds = [event["event"] async for event in job.events()]
    assert kinds[-1] == "released"


async def test_a_job_stopped_while_it_fetches_trains_nothing(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    job = TrainingJob(peer, TrainingRequest(expert=0))
    kinds = []
    async for event in job.events():
        kinds.append(event["event"])
        job.stop()
    assert kinds == ["claimed", "released"]


async def test_a_worker_that_just_dies_is_told_with_its_code(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    with pytest.raises(ParisError, match="ended with code 13"):
        await run(peer, steps=13)
    assert peer.training == set()


async def test_a_worker_that_is_frozen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Frozen)
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    with pytest.raises(WorkerDied, match="did not answer"):
        await run(peer)


async def test_a_worker_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def spawn(job_file: Path, log_file: Path) -> asyncio.subprocess.Process:
        """A real process, for once."""
        script = 'import time; print(\'{"event": "ready"}\', flush=True); time.sleep(600)'
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdin=pipe, stdout=pipe
        )

    monkeypatch.setattr(worker_handle, "_spawn", spawn)
    monkeypatch.setattr(worker_handle, "STOP_PATIENCE", 0.3)
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    job = TrainingJob(peer, TrainingRequest(expert=0))
    with pytest.raises(WorkerDied, match="did not answer"):
        async for event in job.events():
            if event["event"] == "ready":
                asyncio.get_running_loop().call_later(0.1, job.stop)


async def test_a_strangers_state_that_kills_the_worker_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, KilledByPoison)
    world = PeerWorld(tmp_path)
    peer, liar = await trainer(world), await world.join()
    publish_state(liar, b"poison", 10**9)
    await liar.announcer.everything()

    events = await run(peer)

    assert [event["step"] for event in events if event["event"] == "published"] == [1]


async def test_training_that_diverges_from_scratch_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Diverging)
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    with pytest.raises(TrainingDiverged):
        await run(peer)


async def test_a_job_waits_until_the_worker_of_an_earlier_life_is_gone(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    with alone_in(peer.slot_folder(0)):
        training = asyncio.create_task(run(peer))
        await asyncio.wait([training], timeout=1)
        assert not training.done()
    events = await training
    assert events[-1]["event"] == "released"


async def trickling(world: PeerWorld, weights: bytes, step: int, pause: float) -> None:
    """A head that a peer of `world` serves so slowly: seconds before its last chunk."""
    last = weights[(len(weights) - 1) // CHUNK_SIZE * CHUNK_SIZE :]

    async def answer(author: bytes, stream: Stream) -> None:
        async def read(chunk: bytes) -> bytes | None:
            data = await ChunkReader(pit.node)(author, chunk)
            if data == last:
                await asyncio.sleep(pause)
            return data

        await serve_chunks(stream, read)

    pit = await world.join(serve=answer)
    publish(pit, weights, step)
    await pit.announcer.everything()


async def test_a_start_that_is_served_too_slowly_gives_way_to_one_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    peer, honest = await trainer(world), await world.join()
    publish(honest, b"weights at step 40", 40)
    await honest.announcer.everything()
    await trickling(world, b"weights at step 90", 90, pause=3600)

    events = await run(peer)

    (told,) = [event for event in events if event["event"] == "passed_over"]
    assert told["step"] == 90 and "too slow" in told["reason"]
    assert [event["step"] for event in events if event["event"] == "resuming"] == [40]


async def test_a_slow_start_is_waited_for_rather_than_beginning_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting_order, "BRISK", LeastPace(look=0.05, soon=0.05))
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    await trickling(world, b"weights at step 90", 90, pause=0.3)

    events = await run(peer)

    assert [event["event"] for event in events].count("passed_over") == 1
    assert [event["step"] for event in events if event["event"] == "resuming"] == [90]


async def test_nothing_is_begun_anew_over_what_is_still_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BRISK", "PATIENT"):
        monkeypatch.setattr(starting_order, name, LeastPace(look=1.0, soon=0.1, rate=math.inf))
    world = PeerWorld(tmp_path)
    peer = await trainer(world)
    await trickling(world, bytes(CHUNK_SIZE) + b"the last chunk", 90, pause=3600)

    with pytest.raises(StillComing):
        await run(peer)

    assert [head.step for head in peer.heads.of(0)] == [90]


async def test_a_start_that_rotted_on_this_disk_condemns_nobody_and_nothing_begins_anew(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer, honest = await trainer(world), await world.join()
    publish(honest, b"sound!", 40)
    await honest.announcer.everything()
    (head,) = honest.heads.of(0)
    await peer.survey()
    await peer.fetch(head.manifest)
    (await peer.node.path(head.manifest)).write_bytes(b"poison")

    with pytest.raises(BadContent, match="tensor x is missing"):
        await run(peer)

    assert not peer.node.refusals.is_condemned(head.manifest, honest.node.identity.author)
    events = await run(peer)
    assert [event["step"] for event in events if event["event"] == "resuming"] == [40]


async def test_a_chunk_that_rotted_on_this_disk_is_fetched_again_and_condemns_nobody(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer, honest = await trainer(world), await world.join()
    publish(honest, bytes(CHUNK_SIZE) + b"sound", 40)
    await honest.announcer.everything()
    (head,) = honest.heads.of(0)
    await peer.survey()
    manifest = await peer.fetch(head.manifest)
    for chunk in dict.fromkeys(manifest.chunks):
        peer.node.blobs.chunks.put_verified(chunk, memoryview(b"rotten"))

    events = await run(peer)

    assert [event["step"] for event in events if event["event"] == "resuming"] == [40]
    assert not peer.node.refusals.is_condemned(head.manifest, honest.node.identity.author)


async def test_a_start_superseded_while_it_is_fetched_is_trained_from(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer, author = await trainer(world), await world.join()

    async def answer(asker: bytes, stream: Stream) -> None:
        async def read(chunk: bytes) -> bytes | None:
            newer = head_of(author, 0, 41, bytes(32), created=2000.0)
            peer.heads.hear(0, {newer.seal(author.node.identity): {}})
            return await ChunkReader(author.node)(asker, chunk)

        await serve_chunks(stream, read)

    await author.swarm.serve(CHUNK_PROTOCOL, answer)
    publish(author, b"weights at step 40", 40)
    await author.announcer.everything()

    events = await run(peer)

    assert [event["step"] for event in events if event["event"] == "resuming"] == [40]


async def test_what_is_published_while_other_starts_fail_is_tried_before_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    peer, liar, honest = await trainer(world), await world.join(), await world.join()
    publish(liar, b"poison", 90)
    await liar.announcer.everything()
    condemn = peer.condemn

    async def condemn_late(record: Head | Resume, reason: str) -> bool:
        publish(honest, b"weights at step 40", 40)
        await honest.announcer.everything()
        await peer.survey()
        return await condemn(record, reason)

    monkeypatch.setattr(peer, "condemn", condemn_late)

    events = await run(peer)

    assert [event["step"] for event in events if event["event"] == "resuming"] == [90, 40]
