"""What a training process is given: the contents that a slot needs, and its job."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from paris_p2p.peer.peer import Peer
from paris_p2p.peer.training.starting_points import Start, claimed_loss
from paris_p2p.peer.training.worker import Event
from paris_p2p.records.run import ROUTER, RunManifest, ShardRef

if TYPE_CHECKING:
    from paris_p2p.peer.training.training_job import TrainingRequest


def needed(run: RunManifest, expert: int) -> list[bytes]:
    """Contents without which a slot cannot be trained."""
    encoder = run.text_encoder
    texts = [bytes.fromhex(encoder.reference)] if encoder.kind == "content" else []
    return [*(shard.manifest for shard in _shards(run, expert)), *texts]


async def assignment(peer: Peer, expert: int, start: Start, request: TrainingRequest) -> Event:
    """The job that trains a slot from `start`; see training/job.py. All it needs must be here."""
    run = peer.run
    claimed = claimed_loss(start, peer.heads.known(expert))
    return {
        "slot": expert,
        "clusters": run.clusters,
        "latent_shape": list(run.latent_shape),
        "text_context": run.text_context,
        "expert": asdict(run.expert),
        "router": asdict(run.router),
        "recipe": asdict(run.recipe),
        "shards": [str(await peer.path(shard.manifest)) for shard in _shards(run, expert)],
        "text_encoder": await _text_encoder(peer),
        "resume_snapshot": str(start.snapshot) if start.snapshot else None,
        "resume_state": str(await peer.path(start.resume.manifest)) if start.resume else None,
        "start_from": str(await peer.path(start.head.manifest)) if start.head else None,
        "start_step": start.step,
        "start_images": start.images,
        "claimed_loss": claimed,
        "out_dir": str(peer.slot_folder(expert)),
        "max_steps": request.max_steps,
        "max_seconds": request.max_seconds,
        "threads": request.threads,
        "device": "auto",
        "seed": peer.rng.getrandbits(31),
    }


def _shards(run: RunManifest, expert: int) -> tuple[ShardRef, ...]:
    return run.shards if expert == ROUTER else (run.shards[expert],)


async def _text_encoder(peer: Peer) -> Event:
    artefact = peer.run.text_encoder
    if artefact.kind == "hub":
        return asdict(artefact)
    return {
        "kind": "content",
        "reference": str(await peer.path(bytes.fromhex(artefact.reference))),
    }
