"""Training samples in memory: quantised latents, and captions encoded once.

A latent stays int8 until its batch is drawn. Each distinct caption goes through the frozen text
encoder once, at the start. A caption that many images share is stored once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import torch
from torch import Generator, Tensor

from paris_p2p.data.shards import Shard
from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.encoders.hub import load_hub_text_encoder
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.objective import Corruption, Text
from paris_p2p.training.captions import (
    EXCHANGES,
    PooledCaptions,
    distinct_captions,
    draw_alternatives,
    pool_captions,
)
from paris_p2p.training.job import TextEncoderReference

MAX_PROBES: Final = 256
"""Most held-out samples that a held-out loss is measured on."""

PROBE_TIMES: Final = (0.125, 0.375, 0.625, 0.875)
"""The times each sample is measured at: the middles of four equal parts of the path."""

PROBE_SEED: Final = 20_251_003
EVALUATION_BATCH: Final = 64


@dataclass(frozen=True)
class Latents:
    """Latents: `quantised` (N, C, h, w) int8 times `scale` (N, C, 1, 1)."""

    quantised: Tensor
    scale: Tensor

    @classmethod
    def of_shard(cls, quantised: Tensor, scale: Tensor) -> Self:
        """The latents of one shard, with the same `scale` (C,) for all samples."""
        return cls(quantised, scale.view(1, -1, 1, 1).expand(len(quantised), -1, -1, -1))

    def __len__(self) -> int:
        return len(self.quantised)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Latents (B, C, h, w) as float32."""
        return self.quantised[rows].float() * self.scale[rows]


@dataclass(frozen=True)
class Captions:
    """Distinct captions `text` (U, L, D), and the alternatives of each sample, `index` (N, A)."""

    text: Text
    index: Tensor

    def __getitem__(self, rows: Tensor) -> Text:
        """The first caption of each sample."""
        return self.text[self.index[rows, 0]]

    def draw(self, rows: Tensor, generator: Generator) -> Text:
        """One of the captions of each sample, each equally likely."""
        return self.text[draw_alternatives(self.index[rows], generator)]


@dataclass(frozen=True)
class Captioned:
    """One part of a shard, training or held-out: latents and their captions."""

    latents: Latents
    captions: Captions


@dataclass(frozen=True)
class Labelled:
    """Latents of many clusters, and the cluster of each, `clusters` (N,) int64.

    `captions` is None for a router that does not read them.
    """

    latents: Latents
    clusters: Tensor
    captions: PooledCaptions | None = None


@dataclass(frozen=True)
class Probes:
    """Held-out samples `rows` (P,), each at a fixed time with fixed noise."""

    rows: Tensor
    corruption: Corruption

    @torch.inference_mode()
    def mean(self, loss: Callable[[Tensor, Corruption], Tensor]) -> float:
        """The mean of `loss` over all probes. `loss` returns the mean over the rows it is given."""
        total = 0.0
        for start in range(0, len(self.rows), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            corruption = Corruption(self.corruption.t[part], self.corruption.eps[part])
            total += len(corruption.t) * float(loss(self.rows[part], corruption).item())
        return total / len(self.rows)


def draw_probes(held_out: Latents) -> Probes:
    """The probes of some held-out samples: the same samples give the same probes on every machine.

    More than MAX_PROBES samples are thinned evenly. BadContent when there are none.
    """
    if not len(held_out):
        raise BadContent("the shard has no held-out samples to measure the loss on")
    count = min(len(held_out), MAX_PROBES)
    chosen = torch.linspace(0, len(held_out) - 1, count).long()
    rows = chosen.repeat_interleave(len(PROBE_TIMES))
    t = torch.tensor(PROBE_TIMES).repeat(count)
    generator = Generator().manual_seed(PROBE_SEED)
    eps = torch.randn(len(rows), *held_out.quantised.shape[1:], generator=generator)
    return Probes(rows, Corruption(t, eps))


def captioned_parts(shard: Shard, encoder: TextEncoder) -> tuple[Captioned, Captioned, Text]:
    """The training part, the held-out part and the null caption (1, L, D), encoded."""
    part = Captioned(
        Latents.of_shard(shard.latents, shard.latent_scale),
        encode_captions(shard.text_ids, encoder),
    )
    held_out = Captioned(
        Latents.of_shard(shard.held_out_latents, shard.latent_scale),
        encode_captions(shard.held_out_text_ids[:, None], encoder),
    )
    return part, held_out, encode_captions(encoder.tokenize([""])[None], encoder).text


def labelled_parts(
    shards: Sequence[Shard], encoder: TextEncoder | None = None
) -> tuple[Labelled, Labelled]:
    """The training and held-out samples of all clusters together, `shards` in cluster order.

    Captions are read only with an `encoder`.
    """
    part = [Latents.of_shard(shard.latents, shard.latent_scale) for shard in shards]
    held_out = [Latents.of_shard(shard.held_out_latents, shard.latent_scale) for shard in shards]
    if encoder is None:
        return _labelled(part), _labelled(held_out)
    ids = together([shard.text_ids for shard in shards])
    captions = pool_captions(ids, encoder, EXCHANGES)
    held_out_ids = torch.cat([shard.held_out_text_ids.long() for shard in shards])
    held_out_captions = pool_captions(held_out_ids[:, None], encoder)
    return (
        replace(_labelled(part), captions=captions),
        replace(_labelled(held_out), captions=held_out_captions),
    )


@torch.no_grad()
def encode_captions(ids: Tensor, encoder: TextEncoder) -> Captions:
    """Captions (N, A, L) as token ids, each distinct one encoded once."""
    distinct, index = distinct_captions(ids)
    tokens = [
        encoder.encode(distinct[start : start + EVALUATION_BATCH]).float()
        for start in range(0, len(distinct), EVALUATION_BATCH)
    ]
    return Captions(Text(torch.cat(tokens), encoder.mask(distinct)), index)


def load_encoder(reference: TextEncoderReference) -> TextEncoder:
    """The frozen text encoder, from a file or from the hub's local cache."""
    if reference.kind == "hub":
        return load_hub_text_encoder(reference.reference)
    return load_text_encoder(Path(reference.reference))


def together(ids: Sequence[Tensor]) -> Tensor:
    """The captions (N, A, L) of several shards, each of which may have another A."""
    most = max(part.shape[1] for part in ids)
    turns = [torch.arange(most) % part.shape[1] for part in ids]
    return torch.cat([part.long()[:, turn] for part, turn in zip(ids, turns, strict=True)])


def _labelled(latents: Sequence[Latents]) -> Labelled:
    sizes = torch.tensor([len(part) for part in latents])
    together = Latents(
        torch.cat([part.quantised for part in latents]),
        torch.cat([part.scale for part in latents]),
    )
    return Labelled(together, torch.arange(len(latents)).repeat_interleave(sizes))
