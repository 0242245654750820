"""A takeover with real training processes: the heir goes on exactly where the work was left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paris_p2p.peer import claiming
from paris_p2p.peer.peer import Peer
from paris_p2p.peer.training import TrainingJob, TrainingRequest
from paris_p2p.records.run import Artefact, RunManifest, ShardRef
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore
from paris_p2p.training.expert import train_expert
from paris_p2p.training.job import Job
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


async def trained(peer: Peer, steps: int) -> list[dict[str, object]]:
    request = TrainingRequest(expert=0, max_steps=steps, threads=1)
    return [event async for event in TrainingJob(peer, request).events()]


async def test_a_takeover_equals_unbroken_training_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "SETTLE", 0.02)
    files = write_run(tmp_path)
    made = Blobs(ChunkStore(tmp_path / "made"), tmp_path / "cache")
    world = PeerWorld(tmp_path, sealed=sealed_run(files, made))
    first, heir = await world.join(), await world.join()
    for path, kind in [(files.text_encoder, "encoder"), *((p, "shard") for p in files.shards)]:
        name = "clip.safetensors" if kind == "encoder" else path.name
        await first.announcer.content(first.blobs.add_file(path, kind, name).id)

    await trained(first, 6)
    events = await trained(heir, 5)

    (resumed,) = [event for event in events if event["event"] == "resuming"]
    assert (resumed["from"], resumed["step"]) == ("resume", 6)
    assert resumed["by"] == first.identity.peer_id
    torch.set_num_threads(1)
    begun = Job.read(first.slot_folder(0) / "job.json")
    unbroken = list(train_expert(replace(begun, out_dir=tmp_path / "unbroken", max_steps=11)))
    (snapshot,) = heir.slot_folder(0).glob("snapshot-*")
    assert same_content(snapshot, unbroken[-1].snapshot)
    published = max(heir.heads.of(0), key=lambda head: head.step)
    assert same_content(await heir.path(published.manifest), unbroken[-1].checkpoint)
    state = max(heir.resumes.of(0), key=lambda resume: resume.step)
    assert same_content(await heir.path(state.manifest), unbroken[-1].resume)
