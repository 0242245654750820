"""Train the shipped run's base: one expert on all clusters, from which every expert starts.

    python -m bootstrap.shipped_run.build.base --folder DIR [--steps N]

Run again on the same folder it resumes from its last snapshot. When the steps are done it writes
`base.safetensors`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bootstrap.shipped_run.build import SHIPPED
from paris_p2p.data.shards import Shard, narrowed, quantise, read_shard, write_shard
from paris_p2p.files import write_atomically
from paris_p2p.model.encoders.autoencoder import load_autoencoder
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.training.expert import train_expert
from paris_p2p.training.job import Job, TextEncoderReference
from paris_p2p.training.recipes import recipe
from paris_p2p.training.samples import together


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--shipped", type=Path, default=SHIPPED)
    options.add_argument("--folder", type=Path, required=True, help="where it is trained")
    options.add_argument("--steps", type=int, default=8000)
    options.add_argument("--threads", type=int, default=1)
    chosen = options.parse_args()
    job = expert_job(chosen.shipped, everything(chosen.shipped, chosen.folder), chosen.folder)
    trained = trained_to(chosen.steps, replace(job, threads=chosen.threads))
    write_atomically(chosen.shipped / "base.safetensors", trained.read_bytes(), mode=0o644)


def expert_job(shipped: Path, shard: Path, folder: Path, base: Path | None = None) -> Job:
    """The training of one expert of the run in `shipped`, on any shard."""
    text = load_text_encoder(shipped / "clip.safetensors")
    parts = recipe("tiny")
    return Job(
        slot=0,
        clusters=1,
        latent_shape=load_autoencoder(shipped / "autoencoder.safetensors").latent_shape,
        text_context=text.context_length,
        expert=parts.expert,
        router=parts.router,
        recipe=parts.training,
        shards=(shard,),
        text_encoder=TextEncoderReference("content", str(shipped / "clip.safetensors")),
        out_dir=folder,
        base=base,
        threads=1,
    )


def trained_to(steps: int, job: Job) -> Path:
    """Train a job to a step, on from its last snapshot. Returns the checkpoint of that step."""
    job.out_dir.mkdir(parents=True, exist_ok=True)
    done = job.out_dir / f"checkpoint-{steps:09d}.safetensors"
    while not done.exists():
        kept = sorted(job.out_dir.glob("snapshot-*.safetensors"))
        begun = int(kept[-1].stem.rpartition("-")[2]) if kept else 0
        going = replace(job, resume_snapshot=kept[-1] if kept else None, max_steps=steps - begun)
        for progress in train_expert(going):
            if progress.held_out_loss is not None:
                print(
                    f"{job.out_dir.name}: step {progress.step}, held-out loss "
                    f"{progress.held_out_loss:.4f}, {progress.images_per_second:.0f} images/s",
                    flush=True,
                )
    return done


def everything(shipped: Path, folder: Path) -> Path:
    """One shard of all clusters, written to `folder`."""
    shape = load_autoencoder(shipped / "autoencoder.safetensors").latent_shape
    context = load_text_encoder(shipped / "clip.safetensors").context_length
    paths = sorted(shipped.glob("shards/expert-*.safetensors"))
    shards = [read_shard(path, latent_shape=shape, context_length=context) for path in paths]
    target = folder / "everything.safetensors"
    write_shard(target, merged(shards))
    return target


def merged(shards: Sequence[Shard]) -> Shard:
    """The samples of several shards, at the coarsest of their scales."""
    scale = torch.stack([shard.latent_scale for shard in shards]).amax(dim=0)

    def requantised(latents: list[Tensor]) -> Tensor:
        return quantise(torch.cat(latents), scale)

    return Shard(
        latents=requantised([shard.train_latents() for shard in shards]),
        latent_scale=scale,
        text_ids=narrowed(together([shard.text_ids for shard in shards])),
        held_out_latents=requantised([shard.held_out() for shard in shards]),
        held_out_text_ids=narrowed(torch.cat([shard.held_out_text_ids.long() for shard in shards])),
    )


if __name__ == "__main__":
    main()
