"""The training step of an expert: its slot's objective, on its own cluster only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Generator, Tensor

from paris_p2p.data.shards import read_shard
from paris_p2p.errors import BadContent
from paris_p2p.model.expert import Expert, build_expert
from paris_p2p.model.expert_objectives import (
    EXPERT_OBJECTIVES,
    ExpertObjective,
    expert_loss,
)
from paris_p2p.model.objective import Corruption, Text, draw_corruption, drop_captions
from paris_p2p.model.weights import load_into
from paris_p2p.training.job import Job
from paris_p2p.training.phases import Tell, untold
from paris_p2p.training.samples import (
    Captioned,
    CaptionedProbes,
    captioned_parts,
    draw_probes,
    load_encoder,
)
from paris_p2p.training.trainer import Progress, Stop, never, train


class ExpertTask:
    """An expert and its cluster; fits `trainer.Task`."""

    def __init__(
        self,
        expert: Expert,
        objective: ExpertObjective,
        part: Captioned,
        held_out: CaptionedProbes,
        null: Text,
        dropout: float,
    ) -> None:
        """`dropout` is the share of captions that training replaces by `null` (1, L, D)."""
        self.network = expert
        self._objective = objective
        self._part = part
        self._held_out = held_out
        self._null = null
        self._dropout = dropout
        self._probes = draw_probes(held_out.latents)

    @property
    def samples(self) -> int:
        """Number of training samples."""
        return len(self._part.latents)

    def loss(self, network: Expert, rows: Tensor, generator: Generator) -> Tensor:
        """The objective's error with fresh noise and some captions dropped."""
        latents = self._part.latents[rows]
        corruption = draw_corruption(latents, generator, self._objective.draw_times)
        text = self._part.captions.draw(rows, generator)
        text = drop_captions(text, self._null, self._dropout, generator)
        return self._loss(network, latents, text, corruption)

    def held_out_loss(self, network: Expert, tell: Tell = untold) -> float:
        """Mean squared error over the probes, all with their captions.

        The probes' times are the objective's own: losses compare within one objective only.
        """
        part = self._held_out
        return self._probes.mean(
            lambda rows, corruption: self._loss(
                network, part.latents[rows], part.captions[rows], corruption
            ),
            tell,
        )

    def clueless_loss(self) -> float:
        """Loss of a prediction that is always zero, as a fresh expert's is."""
        latents, target = self._held_out.latents, self._objective.target
        return self._probes.mean(
            lambda rows, corruption: target(latents[rows], corruption.eps).square().mean()
        )

    def _loss(self, network: Expert, x0: Tensor, text: Text, corruption: Corruption) -> Tensor:
        device = next(network.parameters()).device
        return expert_loss(
            self._objective,
            network,
            x0.to(device),
            text.trimmed().to(device),
            corruption.to(device),
        )


def _start_from_base(expert: Expert, base: Path) -> None:
    try:
        load_into(expert, base)
    except BadContent as error:
        raise BadContent(
            f"the run's base does not fit its experts: {error.message}",
            "the run's manifest is wrong: no expert of it can be trained from scratch",
        ) from error


def train_expert(job: Job, stop: Stop = never, tell: Tell = untold) -> Iterator[Progress]:
    """Train the expert of `job.slot` on its shard: see `trainer.train` for the errors.

    The text encoder encodes the captions once and is freed, or stays to encode each batch: see
    `captions`.
    """
    torch.manual_seed(job.seed)
    expert = build_expert(job.expert, job.latent_shape)
    if job.base is not None and job.from_scratch:
        _start_from_base(expert, job.base)
    shard = read_shard(
        job.shards[0], latent_shape=job.latent_shape, context_length=job.text_context
    )
    part, held_out, null = captioned_parts(shard, load_encoder(job.text_encoder, job.device), tell)
    objective = EXPERT_OBJECTIVES[job.objective]
    dropout = job.recipe.caption_dropout
    return train(ExpertTask(expert, objective, part, held_out, null, dropout), job, stop, tell)
