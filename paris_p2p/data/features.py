"""Images to feature vectors, in batches, for clustering."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from paris_p2p.data.emoji import to_signal
from paris_p2p.model.encoders.towers import ImageEncoder


@torch.inference_mode()
def image_features(encoder: ImageEncoder, pixels: Tensor, batch: int = 256) -> Tensor:
    """uint8 (N, 3, H, W) -> float32 (N, D) of unit length, on the CPU."""
    device = encoder.mean.device
    parts = [
        encoder.encode(to_signal(part.to(device))).cpu() for part in torch.split(pixels, batch)
    ]
    return torch.cat(parts).float()


def group_means(features: Tensor, groups: Sequence[str], reference: Tensor) -> Tensor:
    """Replace each row of (N, D) by the mean of its group, given every row's group.

    `reference`, bool (N,), marks the rows that means are taken over: the training rows, so that
    held-out rows have no influence. A group without such rows is averaged as a whole.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    index = torch.tensor([numbers[name] for name in groups])
    known = torch.zeros(len(numbers), dtype=torch.bool).index_fill_(0, index[reference], True)
    counted = reference | ~known[index]
    sums = torch.zeros(len(numbers), features.shape[1])
    sums.index_add_(0, index[counted], features[counted])
    counts = index[counted].bincount(minlength=len(numbers))
    return (sums / counts[:, None])[index]
