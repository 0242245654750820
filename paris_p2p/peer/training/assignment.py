"""The contents that the training of a slot needs, and the job of its training process."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.starting_points import Start, claimed_loss
from paris_p2p.peer.training.worker_handle import Event
from paris_p2p.records.run import ROUTER, RunManifest


@dataclass(frozen=True)
class TrainingRequest:
    """A request of `claim-expert`.

    expert : the slot; None to let the swarm's need decide.
    wait : wait for a free expert if all are held.
    avoid : the experts at which this peer has just failed.
    """

    expert: int | None = None
    max_steps: int | None = None
    max_seconds: float | None = None
    threads: int | None = None
    wait: bool = False
    avoid: frozenset[int] = frozenset()


def needed(run: RunManifest, expert: int) -> list[bytes]:
    """The contents that training a slot needs."""
    encoder = run.text_encoder
    texts = [bytes.fromhex(encoder.reference)] if encoder.kind == "content" else []
    base = [run.base] if run.base is not None and expert != ROUTER else []
    return [*(shard.manifest for shard in run.shards_of(expert)), *texts, *base]


async def assignment(
    membership: Membership, expert: int, start: Start, request: TrainingRequest
) -> Event:
    """The job that trains a slot from `start` (see training/job.py). Its contents must be here."""
    run = membership.run
    claimed = claimed_loss(start, membership.heads.known(expert))
    return {
        "slot": expert,
        "clusters": run.clusters,
        "latent_shape": list(run.latent_shape),
        "text_context": run.text_context,
        **_expert(run, expert),
        "router": asdict(run.router),
        "recipe": asdict(run.recipe),
        "shards": [
            str(await membership.node.path(shard.manifest)) for shard in run.shards_of(expert)
        ],
        "text_encoder": await _text_encoder(membership),
        "base": await _base(membership, expert),
        "resume_snapshot": str(start.snapshot) if start.snapshot else None,
        "resume_state": str(await membership.node.path(start.resume.manifest))
        if start.resume
        else None,
        "start_from": str(await membership.node.path(start.head.manifest)) if start.head else None,
        "start_step": start.step,
        "start_images": start.images,
        "claimed_loss": claimed,
        "out_dir": str(membership.slot_folder(expert)),
        "max_steps": request.max_steps,
        "max_seconds": request.max_seconds,
        "threads": request.threads,
        "duty_cycle": membership.node.config.duty_cycle,
        "device": "auto",
        "seed": membership.node.rng.getrandbits(31),
    }


def _expert(run: RunManifest, slot: int) -> Event:
    """The shape and objective of a slot's expert. The router's job ignores both."""
    if slot == ROUTER:
        return {"expert": asdict(run.expert)}
    return {"expert": asdict(run.expert_spec(slot)), "objective": run.objective(slot)}


async def _base(membership: Membership, expert: int) -> str | None:
    base = membership.run.base
    if base is None or expert == ROUTER:
        return None
    return str(await membership.node.path(base))


async def _text_encoder(membership: Membership) -> Event:
    artefact = membership.run.text_encoder
    if artefact.kind == "hub":
        return asdict(artefact)
    return {
        "kind": "content",
        "reference": str(await membership.node.path(bytes.fromhex(artefact.reference))),
    }
