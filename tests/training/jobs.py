"""Jobs small enough for a test: real files, a network of a few thousand parameters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from paris_p2p.data.shards import Shard, write_shard
from paris_p2p.model.encoders.clip import ClipConfig, build_clip, build_tokenizer, save_clip
from paris_p2p.records.run import ROUTER, ExpertSpec, RouterSpec, TrainingSpec
from paris_p2p.training.job import Job, TextEncoderReference

LATENT_SHAPE = (2, 8, 8)
CLUSTERS = 3
TEXT_CONTEXT = 8
TEXT_WIDTH = 16
MERGES = ["t h"]

EXPERT = ExpertSpec(hidden=32, depth=1, heads=2, patch=4, caption_width=TEXT_WIDTH)
NETWORK = RouterSpec(hidden=32, depth=1, heads=2, patch=4)
RECIPE = TrainingSpec(
    learning_rate=1e-3,
    batch=8,
    ema=0.9,
    caption_dropout=0.1,
    snapshot_every=3,
    publish_every=4,
    warmup=2,
    grad_clip=1.0,
)
SMALL_CLIP = ClipConfig(
    image_px=8,
    patch=8,
    image_width=8,
    image_layers=1,
    text_width=TEXT_WIDTH,
    text_layers=1,
    context_length=TEXT_CONTEXT,
    head_width=8,
    features=8,
)


@dataclass(frozen=True)
class RunFiles:
    """What a peer would have fetched before it starts a worker."""

    folder: Path
    shards: tuple[Path, ...]
    text_encoder: Path

    def job(self, slot: int = 0, **changes: Any) -> Job:
        """Six steps of a slot into its own folder."""
        shards = self.shards if slot == ROUTER else (self.shards[slot],)
        out_dir = changes.pop("out_dir", self.folder / f"slot{slot}")
        out_dir.mkdir(exist_ok=True)
        job = Job(
            slot=slot,
            clusters=CLUSTERS,
            latent_shape=LATENT_SHAPE,
            text_context=TEXT_CONTEXT,
            expert=EXPERT,
            router=NETWORK,
            recipe=RECIPE,
            shards=shards,
            text_encoder=TextEncoderReference("content", str(self.text_encoder)),
            out_dir=out_dir,
            max_steps=6,
            device="cpu",
            threads=1,
        )
        return replace(job, **changes)


def write_run(folder: Path) -> RunFiles:
    """Shards whose clusters differ in the mean of their latents, and an untrained text encoder."""
    torch.manual_seed(0)
    shards = []
    for cluster in range(CLUSTERS):
        shards.append(folder / f"shard{cluster}.safetensors")
        write_shard(shards[-1], a_shard(cluster))
    tokenizer = build_tokenizer(MERGES, SMALL_CLIP.context_length)
    text_encoder = folder / "clip.safetensors"
    save_clip(text_encoder, build_clip(SMALL_CLIP, tokenizer.vocab_size), SMALL_CLIP, MERGES)
    return RunFiles(folder, tuple(shards), text_encoder)


def a_shard(cluster: int, train: int = 20, held_out: int = 5) -> Shard:
    """Samples around 60 (cluster - 1) int8 steps, two captions among them."""
    generator = torch.Generator().manual_seed(cluster)

    def latents(count: int) -> torch.Tensor:
        noise = 10 * torch.randn(count, *LATENT_SHAPE, generator=generator)
        return (noise + 60 * (cluster - 1)).round().to(torch.int8)

    def captions(count: int) -> torch.Tensor:
        ids = torch.zeros(count, TEXT_CONTEXT, dtype=torch.int32)
        ids[:, 0], ids[::2, 1], ids[1::2, 1], ids[:, 2] = 513, 7, 9, 514
        return ids

    scale = torch.tensor([0.02, 0.03])
    text_ids = captions(train)[:, None]
    return Shard(latents(train), scale, text_ids, latents(held_out), captions(held_out))


def as_json(job: Job) -> dict[str, Any]:
    """The job as a peer writes it."""
    plain = asdict(job)
    for name in ("out_dir", "base", "resume_snapshot", "resume_state", "start_from"):
        plain[name] = str(plain[name]) if plain[name] else None
    return plain | {"shards": [str(path) for path in job.shards]}


def same_content(one: Path | None, other: Path | None) -> bool:
    """Whether two tensor files hold the same bits; safetensors does not fix metadata's order."""
    assert one is not None
    assert other is not None
    with safe_open(one, framework="pt") as first, safe_open(other, framework="pt") as second:
        names = set(first.keys())
        return (
            first.metadata() == second.metadata()
            and names == set(second.keys())
            and all(torch.equal(first.get_tensor(n), second.get_tensor(n)) for n in names)
        )
