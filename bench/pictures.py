"""The shipped run's real pictures by split, as its networks see them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from paris_p2p.data.emoji import EmojiSample, load_emoji
from paris_p2p.data.shards import read_shard
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.objective import Text
from paris_p2p.peer.shipped_run import ShippedRun

SPLITS: Final = {
    "train": "trained on",
    "held_out_pair": "held-out pairs",
    "held_out_concept": "never seen",
}
"""What the run calls them, and what we do."""


@dataclass(frozen=True)
class Pictures:
    """Real pictures (N) of one split: what they show, their latents, captions and clusters."""

    samples: Sequence[EmojiSample]
    latents: Tensor
    text: Text
    clusters: Tensor

    def __getitem__(self, rows: Tensor) -> Pictures:
        samples = [self.samples[int(row)] for row in rows]
        return Pictures(samples, self.latents[rows], self.text[rows], self.clusters[rows])


def load_pictures(shipped: ShippedRun, encoder: TextEncoder) -> dict[str, Pictures]:
    """Every picture of the run by its split. Which is which is told by its caption."""
    run = shipped.run
    channels, height, width = run.latent_shape
    samples = load_emoji(shipped.folder / "emoji.parquet")
    tokens = encoder.tokenize([sample.caption for sample in samples]).tolist()
    by_tokens = dict(zip(map(tuple, tokens), samples, strict=True))
    latents, ids, clusters = [], [], []
    for cluster in range(run.clusters):
        shard = read_shard(
            shipped.folder / f"shards/expert-{cluster}.safetensors",
            latent_shape=(channels, height, width),
            context_length=run.text_context,
        )
        latents += [shard.train_latents(), shard.held_out()]
        ids += [shard.text_ids[:, 0].long(), shard.held_out_text_ids.long()]
        clusters += [torch.full((len(part),), cluster) for part in ids[-2:]]
    shown = [by_tokens[tuple(caption)] for caption in torch.cat(ids).tolist()]
    text = read_captions(encoder, [sample.caption for sample in shown])
    everything = Pictures(shown, torch.cat(latents), text, torch.cat(clusters))
    return {
        split: everything[torch.tensor([i for i, s in enumerate(shown) if s.split == split])]
        for split in SPLITS
    }


@torch.inference_mode()
def read_captions(encoder: TextEncoder, captions: Sequence[str]) -> Text:
    ids = encoder.tokenize(captions)
    tokens = [encoder.encode(ids[part]) for part in parts_of(len(ids))]
    return Text(torch.cat(tokens), encoder.mask(ids))


def parts_of(count: int, size: int = 256) -> Iterator[slice]:
    """The rows of so many, in batches."""
    return (slice(start, start + size) for start in range(0, count, size))


def drawn_from(pictures: Pictures, count: int) -> Pictures:
    """Some of the pictures at random, always the same."""
    rows = random.Random(0).sample(range(len(pictures.samples)), count)
    return pictures[torch.tensor(rows)]
