"""What the two small trainings share: augmentation, learning rate, averaged weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from paris_p2p.data.emoji import to_signal

SHIFT_PX = 3
"""Largest shift of a picture: its art stays within its tile, whose margins are white."""


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 (N, 3, 64, 64) to signal in [-1, 1], mirrored by half and shifted a little."""
    signal = to_signal(pixels)
    mirrored = torch.rand(len(signal), 1, 1, 1, generator=generator) < 0.5
    signal = torch.where(mirrored, signal.flip(-1), signal)
    down, right = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2,), generator=generator).tolist()
    return signal.roll((down, right), dims=(-2, -1))


def scheduled(peak: float, step: int, steps: int, warmup: int = 100) -> float:
    """The learning rate at a step: a linear warm-up times half a cosine down to nothing."""
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def blend(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the running average of the weights towards the model's, faster at the start."""
    decay = min(decay, (step + 1) / (step + 10))
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
