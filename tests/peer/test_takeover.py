"""A takeover by a real training process, past worthless starts: exactly where work was left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.assignment import TrainingRequest
from paris_p2p.peer.training.publishing import Checkpoint, publish, publish_resume
from paris_p2p.peer.training.snapshots import snapshots
from paris_p2p.peer.training.training_job import TrainingJob
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import Artefact, RunManifest, ShardRef
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore
from paris_p2p.training.expert import train_expert
from paris_p2p.training.worker import LOCK_NAME
from tests.peer.worlds import CREATOR, PeerWorld
from tests.training.jobs import (
    EXPERT,
    LATENT_SHAPE,
    NETWORK,
    RECIPE,
    TEXT_CONTEXT,
    TEXT_WIDTH,
    RunFiles,
    same_content,
    write_run,
)


def sealed_run(files: RunFiles, blobs: Blobs) -> bytes:
    """The run that these files make, with them in the store."""
    encoder = blobs.add_file(files.text_encoder, "encoder", "clip.safetensors")
    shards = [blobs.add_file(path, "shard", path.name) for path in files.shards]
    hub = Artefact("hub", "example/encoder")
    return RunManifest(
        name="takeover",
        created=1.0,
        author=CREATOR.author,
        clusters=len(shards),
        expert=EXPERT,
        router=NETWORK,
        recipe=RECIPE,
        latent_shape=LATENT_SHAPE,
        autoencoder=hub,
        text_encoder=Artefact("content", encoder.id.hex()),
        image_encoder=hub,
        text_context=TEXT_CONTEXT,
        text_width=TEXT_WIDTH,
        shards=tuple(ShardRef(shard.id, 20, 5, ("word",)) for shard in shards),
        trusted_authors=(),
    ).seal(CREATOR)


async def world_of(files: RunFiles, folder: Path) -> PeerWorld:
    """The first peer of a run of these files, which it holds, and an heir."""
    made = Blobs(ChunkStore(folder / "made"), folder / "cache")
    world = PeerWorld(folder, sealed=sealed_run(files, made))
    first, _ = await world.join(), await world.join()
    for path, kind in [(files.text_encoder, "encoder"), *((p, "shard") for p in files.shards)]:
        name = "clip.safetensors" if kind == "encoder" else path.name
        await first.announcer.content(first.node.blobs.add_file(path, kind, name).id)
    return world


def altered(path: Path, prefix: str, by: float, target: Path, **counters: int) -> Path:
    """The same file with tensors under `prefix` scaled, and other counters."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() | {name: str(value) for name, value in counters.items()}
    tensors = {
        name: tensor * by if name.startswith(prefix) else tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, target, metadata)
    return target


async def lie(
    liar: Membership, kind: type[Head] | type[Resume], path: Path, **counters: int
) -> None:
    """Sign what is no work of anybody's, and announce it."""
    content = liar.node.blobs.add_file(path, "checkpoint", "expert-0.safetensors")
    common = {
        "run": liar.run_id,
        "expert": 0,
        "author": liar.node.identity.author,
        "created": 2000.0,
    }
    common |= {"manifest": content.id, "size": content.size, **counters}
    if kind is Resume:
        liar.resumes.add(Resume(**common).seal(liar.node.identity))
    else:
        losses = {"train_loss": 0.1, "held_out_loss": 0.1, "parent": None}
        liar.heads.add(Head(**common, **losses).seal(liar.node.identity))
    await liar.announcer.everything()


@pytest.mark.slow
async def test_worthless_starts_are_condemned_and_the_honest_one_equals_unbroken_training(
    tmp_path: Path,
) -> None:
    """A head without room to train, a state whose average alone is spoilt, and an honest one, at
    which the worker is killed. What the heir makes of that is compared bit for bit."""
    files = write_run(tmp_path)
    world = await world_of(files, tmp_path)
    first, heir = world.peers
    torch.set_num_threads(1)
    *_, last = train_expert(files.job(out_dir=tmp_path / "first"))
    assert last.checkpoint and last.resume and last.held_out_loss
    figures = Checkpoint(last.checkpoint, 0, 6, last.images, last.loss, last.held_out_loss, None)
    head = await publish(first, figures)
    state = await publish_resume(first, last.resume, 0, 6, last.images)
    far, spoilt = await world.join(), await world.join()
    counters = {"step": 2**40, "images": 2**48}
    weights = altered(await first.node.path(head.manifest), "", 1.0, tmp_path / "far", **counters)
    await lie(far, Head, weights, **counters)
    counters = {"step": 10**6, "images": 10**7, "updates": 10**6}
    average = await first.node.path(state.manifest)
    poison = altered(average, "average/", 1e3, tmp_path / "spoilt", **counters)
    await lie(spoilt, Resume, poison, step=10**6, images=10**7)

    events = []
    request = TrainingRequest(expert=0, max_steps=5, threads=1)
    async for event in TrainingJob(heir, request).events():
        events.append(event)
        is_first = "retrying" not in [earlier["event"] for earlier in events]
        if event["event"] == "checking" and event["step"] == state.step and is_first:
            os.kill(int((heir.slot_folder(0) / LOCK_NAME).read_text()), signal.SIGKILL)

    passed = [event for event in events if event["event"] == "passed_over"]
    assert [(event["from"], event["step"]) for event in passed] == [
        ("head", 2**40),
        ("resume", 10**6),
    ]
    assert "no room" in str(passed[0]["reason"]) and "held-out loss" in str(passed[1]["reason"])
    for record in (far.heads.of(0)[0], spoilt.resumes.of(0)[0]):
        assert heir.node.refusals.is_condemned(record.manifest, record.author)
    (again,) = [event for event in events if event["event"] == "retrying"]
    assert (again["from"], again["step"]) == ("resume", 6) and "SIGKILL" in again["reason"]
    assert not heir.node.refusals.is_condemned(state.manifest, state.author)
    resumed = [event for event in events if event["event"] == "resuming"][-1]
    assert (resumed["from"], resumed["step"]) == ("resume", 6)
    assert resumed["by"] == first.node.identity.peer_id
    assert [event["step"] for event in events if event["event"] == "published"] == [8, 11]

    *_, unbroken = train_expert(files.job(out_dir=tmp_path / "unbroken", max_steps=11))
    (snapshot,) = snapshots(heir.slot_folder(0))
    assert snapshot.name == "snapshot-000000011.safetensors"
    assert same_content(snapshot, unbroken.snapshot)
    for book, trained in ((heir.heads, unbroken.checkpoint), (heir.resumes, unbroken.resume)):
        own = book.newest(0, heir.node.identity.author)
        assert own is not None
        assert same_content(await heir.node.path(own.manifest), trained)
