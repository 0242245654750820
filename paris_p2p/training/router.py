"""The training step of the router: predicting the cluster of a noised latent.

The router sees every shard. Samples are drawn uniformly from all shards together, so its softmax is
the posterior under the data's own cluster proportions, as the mixture needs.

A router that reads learns three more things at once, each by its own cross-entropy: p(k), p(k | c)
on the captions as they are, and the trust on the whole posterior, half of it with captions that it
does not know. No gradient of one reaches another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from paris_p2p.data.shards import read_shard
from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.objective import Corruption, draw_corruption, interpolate
from paris_p2p.model.router import CaptionReader, Router, build_router
from paris_p2p.training.job import Job
from paris_p2p.training.phases import Tell, untold
from paris_p2p.training.pooled_captions import PooledCaptions
from paris_p2p.training.samples import (
    Labelled,
    LabelledProbes,
    draw_probes,
    labelled_parts,
    load_encoder,
)
from paris_p2p.training.trainer import Progress, Stop, never, train

JITTER: Final = 0.05
"""Deviation of the noise on pooled captions, whose tokens have about unit deviation."""

STRANGE: Final = 0.5
"""Share of unknown captions among those that the trust is learned on."""


class RouterTask:
    """The router and the samples of all clusters; fits `trainer.Task`."""

    def __init__(self, router: Router, part: Labelled, held_out: LabelledProbes) -> None:
        self.network = router
        self._part = part
        self._held_out = held_out
        self._probes = draw_probes(held_out.latents)

    @property
    def samples(self) -> int:
        """Number of training samples of all clusters."""
        return len(self._part.latents)

    def loss(self, network: Router, rows: Tensor, generator: Generator) -> Tensor:
        """Cross-entropy with fresh noise, and the reader's losses where there is one."""
        corruption = draw_corruption(self._part.latents[rows], generator)
        logits, clusters = _judged(network, self._part, rows, corruption)
        loss = cross_entropy(logits, clusters)
        if network.reader is None or self._part.captions is None:
            return loss
        known, met = _draw_captions(self._part.captions, rows, generator)
        device = logits.device
        return loss + _reader_loss(
            network.reader, logits.detach(), known.to(device), met.to(device), clusters
        )

    def held_out_loss(self, network: Router, tell: Tell = untold) -> float:
        """Cross-entropy (nats) of the whole posterior over the probes."""
        return self._probes.mean(
            lambda rows, corruption: _loss(network, self._held_out, rows, corruption), tell
        )

    def clueless_loss(self) -> float:
        """Loss of giving every cluster the same probability."""
        return math.log(int(self._held_out.clusters.max()) + 1)


def train_router(job: Job, stop: Stop = never, tell: Tell = untold) -> Iterator[Progress]:
    """Train the router on all shards, in cluster order: see `trainer.train` for the errors.

    For a router that reads, the text encoder encodes all captions once and is freed. BadContent
    when its tokens are not as wide as the router's.
    """
    torch.manual_seed(job.seed)
    router = build_router(job.router, job.latent_shape, job.clusters)
    shards = [
        read_shard(path, latent_shape=job.latent_shape, context_length=job.text_context)
        for path in job.shards
    ]
    part, held_out = labelled_parts(shards, _encoder(job), tell)
    return train(RouterTask(router, part, held_out), job, stop, tell)


def _encoder(job: Job) -> TextEncoder | None:
    """The text encoder of a router that reads."""
    if not job.router.caption_width:
        return None
    encoder = load_encoder(job.text_encoder, job.device)
    if encoder.width != job.router.caption_width:
        raise BadContent(
            f"the router reads text tokens of width {job.router.caption_width}, and the run's text "
            f"encoder gives {encoder.width}",
            "the run's manifest is wrong: it needs another router or another text encoder",
        )
    return encoder


def _judged(
    network: Router, part: Labelled | LabelledProbes, rows: Tensor, corruption: Corruption
) -> tuple[Tensor, Tensor]:
    """The picture head's logits (B, K) for some noised samples, and their clusters (B,)."""
    device = next(network.parameters()).device
    x0, clusters = part.latents[rows].to(device), part.clusters[rows].to(device)
    corruption = corruption.to(device)
    x_t = interpolate(x0, corruption.eps, corruption.t)
    return network(x_t, corruption.t).float(), clusters


def _loss(network: Router, part: LabelledProbes, rows: Tensor, corruption: Corruption) -> Tensor:
    logits, clusters = _judged(network, part, rows, corruption)
    if network.reader is not None and part.captions is not None:
        logits = logits + network.reader(part.captions[rows].to(logits.device))
    return cross_entropy(logits, clusters)


def _reader_loss(
    reader: CaptionReader, logits: Tensor, known: Tensor, met: Tensor, clusters: Tensor
) -> Tensor:
    """The sum of the reader's cross-entropies: p(k), p(k | `known`), the posterior with `met`."""
    prior = cross_entropy(reader.prior.expand_as(logits), clusters)
    read = cross_entropy(reader.cluster(known), clusters)
    return prior + read + cross_entropy(logits + reader(met), clusters)


def _draw_captions(
    captions: PooledCaptions, rows: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Captions (B, D) as they are, and as a sampler meets them: known or not. Both with noise."""
    known, exchanged = captions.draw(rows, generator)
    strange = torch.rand(len(rows), 1, generator=generator) < STRANGE
    met = torch.where(strange, exchanged, known)
    return _jittered(known, generator), _jittered(met, generator)


def _jittered(captions: Tensor, generator: Generator) -> Tensor:
    """The captions with noise, except for those without words, which stay 0."""
    noise = torch.randn(captions.shape, generator=generator)
    return captions + JITTER * noise * captions.any(dim=-1, keepdim=True)
