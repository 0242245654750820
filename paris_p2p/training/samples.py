"""Training samples: memory-mapped latents, their captions, and the probes of the held-out loss.

A latent stays int8 in the shard's file until its batch is drawn, so memory does not grow with the
data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Generator, Tensor

from paris_p2p.data.shards import Shard
from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.hub import load_hub_text_encoder
from paris_p2p.model.encoders.stored import load_stored_text_encoder
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.objective import Corruption, Text
from paris_p2p.training.captions import (
    Captions,
    EncodedCaptions,
    captions_of,
    check_vocabulary,
    encode_captions,
)
from paris_p2p.training.devices import pick_device
from paris_p2p.training.job import TextEncoderReference
from paris_p2p.training.phases import Tell, untold
from paris_p2p.training.pooled_captions import (
    KeptPooledCaptions,
    PooledCaptions,
    pool_captions,
    pooled_captions_of,
)

MAX_PROBES: Final = 256
"""Most held-out samples that a held-out loss is measured on."""

PROBE_TIMES: Final = (0.125, 0.375, 0.625, 0.875)
"""The times each sample is measured at: the middles of four equal parts of the path."""

PROBE_SEED: Final = 20_251_003
EVALUATION_BATCH: Final = 16
"""Small, so that measuring a network never takes more memory than training it."""


@dataclass(frozen=True)
class Latents:
    """The latents of one shard or several: `parts` are int8 (N, C, h, w) and their scale (C,)."""

    parts: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def of_shard(cls, quantised: Tensor, scale: Tensor) -> Self:
        """The latents of one shard."""
        return cls(((quantised, scale),))

    @classmethod
    def joined(cls, latents: Sequence[Latents]) -> Self:
        """All of these, in this order."""
        return cls(tuple(part for one in latents for part in one.parts))

    def __len__(self) -> int:
        return sum(len(quantised) for quantised, _ in self.parts)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Latents (B, C, h, w) as float32."""
        found = torch.empty(len(rows), *self.parts[0][0].shape[1:])
        start = 0
        for quantised, scale in self.parts:
            inside = ((rows >= start) & (rows < start + len(quantised))).nonzero().flatten()
            found[inside] = quantised[rows[inside] - start].float() * scale[:, None, None]
            start += len(quantised)
        return found


@dataclass(frozen=True)
class Captioned:
    """The training part of a shard: latents and their captions."""

    latents: Latents
    captions: Captions


@dataclass(frozen=True)
class CaptionedProbes:
    """The held-out samples that the loss is measured on: float latents (P, C, h, w), captions."""

    latents: Tensor
    captions: EncodedCaptions


@dataclass(frozen=True)
class Labelled:
    """Latents of many clusters, and the cluster of each, `clusters` (N,) int64.

    `captions` is None for a router that does not read them.
    """

    latents: Latents
    clusters: Tensor
    captions: PooledCaptions | None = None


@dataclass(frozen=True)
class LabelledProbes:
    """The held-out samples of all clusters that the loss is measured on."""

    latents: Tensor
    clusters: Tensor
    captions: KeptPooledCaptions | None = None


@dataclass(frozen=True)
class Probes:
    """Held-out samples `rows` (P,), each at a fixed time with fixed noise."""

    rows: Tensor
    corruption: Corruption

    @torch.inference_mode()
    def mean(self, loss: Callable[[Tensor, Corruption], Tensor], tell: Tell = untold) -> float:
        """The mean of `loss` over all probes. `loss` returns the mean over the rows it is given."""
        total = 0.0
        for start in range(0, len(self.rows), EVALUATION_BATCH):
            tell("measuring the held-out loss", start, len(self.rows))
            part = slice(start, start + EVALUATION_BATCH)
            corruption = Corruption(self.corruption.t[part], self.corruption.eps[part])
            total += len(corruption.t) * float(loss(self.rows[part], corruption).item())
        return total / len(self.rows)


def probed(held_out: int) -> Tensor:
    """The held-out samples that are measured: the same on every machine, spread evenly.

    BadContent when there are none.
    """
    if not held_out:
        raise BadContent("the shard has no held-out samples to measure the loss on")
    return torch.linspace(0, held_out - 1, min(held_out, MAX_PROBES)).long()


def draw_probes(latents: Tensor) -> Probes:
    """Each of the samples (P, C, h, w) at every time, with the same noise on every machine."""
    rows = torch.arange(len(latents)).repeat_interleave(len(PROBE_TIMES))
    t = torch.tensor(PROBE_TIMES).repeat(len(latents))
    generator = Generator().manual_seed(PROBE_SEED)
    eps = torch.randn(len(rows), *latents.shape[1:], generator=generator)
    return Probes(rows, Corruption(t, eps))


def captioned_parts(
    shard: Shard, encoder: TextEncoder, tell: Tell = untold
) -> tuple[Captioned, CaptionedProbes, Text]:
    """The training part, the held-out probes and the null caption (1, L, D).

    BadContent for token ids that the encoder does not have, or without held-out samples.
    """
    check_vocabulary(shard.held_out_text_ids, encoder)
    rows = probed(len(shard.held_out_latents))
    part = Latents.of_shard(shard.latents, shard.latent_scale)
    held_out = Latents.of_shard(shard.held_out_latents, shard.latent_scale)
    held_out_captions = encode_captions(shard.held_out_text_ids[rows][:, None], encoder)
    return (
        Captioned(part, captions_of(shard.text_ids, encoder, tell)),
        CaptionedProbes(held_out[rows], held_out_captions),
        encode_captions(encoder.tokenize([""])[None], encoder).text,
    )


def labelled_parts(
    shards: Sequence[Shard], encoder: TextEncoder | None = None, tell: Tell = untold
) -> tuple[Labelled, LabelledProbes]:
    """The training samples and probes of all clusters together, `shards` in cluster order.

    Captions are read only with an `encoder`.
    """
    part = Latents.joined([Latents.of_shard(s.latents, s.latent_scale) for s in shards])
    held_out = Latents.joined(
        [Latents.of_shard(s.held_out_latents, s.latent_scale) for s in shards]
    )
    rows = probed(len(held_out))
    clusters = _clusters([len(shard.latents) for shard in shards])
    of_probes = _clusters([len(shard.held_out_latents) for shard in shards])[rows]
    if encoder is None:
        return Labelled(part, clusters), LabelledProbes(held_out[rows], of_probes)
    held_out_ids = torch.cat([shard.held_out_text_ids.int() for shard in shards])
    check_vocabulary(held_out_ids, encoder)
    captions = pooled_captions_of(together([shard.text_ids for shard in shards]), encoder, tell)
    held_out_captions = pool_captions(held_out_ids[rows][:, None], encoder)
    return (
        Labelled(part, clusters, captions),
        LabelledProbes(held_out[rows], of_probes, held_out_captions),
    )


def load_encoder(reference: TextEncoderReference, device: str) -> TextEncoder:
    """The frozen text encoder on a device, from a file or from the hub's local cache."""
    if reference.kind == "hub":
        encoder = load_hub_text_encoder(reference.reference)
    else:
        encoder = load_stored_text_encoder(Path(reference.reference))
    return encoder.to(pick_device(device))


def together(ids: Sequence[Tensor]) -> Tensor:
    """The captions (N, A, L) of several shards, each of which may have another A."""
    most = max(part.shape[1] for part in ids)
    turns = [torch.arange(most) % part.shape[1] for part in ids]
    return torch.cat([part[:, turn].int() for part, turn in zip(ids, turns, strict=True)])


def _clusters(sizes: Sequence[int]) -> Tensor:
    """The cluster of each sample (N,), int64, where cluster k has `sizes[k]`."""
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
