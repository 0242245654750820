"""The training step of the router: predicting the cluster of a noised latent.

The router sees every shard. Samples are drawn uniformly from all shards together, so its softmax is
the posterior under the data's own cluster proportions, as the mixture needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from paris_p2p.data.shards import read_shard
from paris_p2p.model.objective import Corruption, draw_corruption, router_loss
from paris_p2p.model.router import Router, build_router
from paris_p2p.training.job import Job
from paris_p2p.training.samples import Labelled, draw_probes, labelled_parts
from paris_p2p.training.trainer import Progress, Stop, never, train


class RouterTask:
    """The router and the latents of all clusters; fits `trainer.Task`."""

    def __init__(self, router: Router, part: Labelled, held_out: Labelled) -> None:
        self.network = router
        self._part = part
        self._held_out = held_out
        self._probes = draw_probes(held_out.latents)

    @property
    def samples(self) -> int:
        """Number of training samples of all clusters."""
        return len(self._part.latents)

    def loss(self, network: Router, rows: Tensor, generator: Generator) -> Tensor:
        """Cross-entropy with fresh noise."""
        corruption = draw_corruption(self._part.latents[rows], generator)
        return _loss(network, self._part, rows, corruption)

    def held_out_loss(self, network: Router) -> float:
        """Cross-entropy (nats) over the probes."""
        return self._probes.mean(
            lambda rows, corruption: _loss(network, self._held_out, rows, corruption)
        )

    def clueless_loss(self) -> float:
        """Loss of giving every cluster the same probability."""
        return math.log(int(self._held_out.clusters.max()) + 1)


def train_router(job: Job, stop: Stop = never) -> Iterator[Progress]:
    """Train the router on all shards, in cluster order: see `trainer.train` for the errors."""
    torch.manual_seed(job.seed)
    router = build_router(job.router, job.latent_shape, job.clusters)
    shards = [
        read_shard(path, latent_shape=job.latent_shape, context_length=job.text_context)
        for path in job.shards
    ]
    part, held_out = labelled_parts(shards)
    return train(RouterTask(router, part, held_out), job, stop)


def _loss(network: Router, part: Labelled, rows: Tensor, corruption: Corruption) -> Tensor:
    device = next(network.parameters()).device
    x0, clusters = part.latents[rows].to(device), part.clusters[rows].to(device)
    return router_loss(network, x0, clusters, corruption.to(device))
