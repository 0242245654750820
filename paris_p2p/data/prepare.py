"""Captioned images, encoders and cluster assignments -> one shard per cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor

from paris_p2p.data.emoji import to_signal
from paris_p2p.data.shards import Shard, narrowed, quantise
from paris_p2p.model.encoders.autoencoder import Autoencoder
from paris_p2p.model.encoders.towers import TextEncoder

INT8_STEPS = 127


@dataclass(frozen=True)
class CaptionedImages:
    """The input: pixels uint8 (N, 3, H, W), the captions of each, and which are held out.

    Each of an image's captions is equally likely in training. A held-out image is asked for by its
    first.
    """

    pixels: Tensor
    captions: Sequence[Sequence[str]]
    held_out: Tensor


@torch.inference_mode()
def encode_images(autoencoder: Autoencoder, pixels: Tensor, batch: int = 256) -> Tensor:
    """uint8 (N, 3, H, W) -> latents, float32 (N, C, h, w), on the CPU."""
    device = next(autoencoder.parameters()).device
    parts = [
        autoencoder.encode(to_signal(part.to(device))).cpu() for part in torch.split(pixels, batch)
    ]
    return torch.cat(parts).float()


def prepare_shards(
    images: CaptionedImages,
    labels: Tensor,
    count: int,
    autoencoder: Autoencoder,
    text: TextEncoder,
) -> list[Shard]:
    """One shard for each of `count` clusters, given every image's cluster, int64 (N,)."""
    latents = encode_images(autoencoder, images.pixels)
    ids = caption_ids(images.captions, text)
    return [_shard(latents, ids, labels == label, images.held_out) for label in range(count)]


def caption_ids(captions: Sequence[Sequence[str]], text: TextEncoder) -> Tensor:
    """Token ids (N, A, L). An image with fewer captions than A repeats its own in turn."""
    most = max(len(alternatives) for alternatives in captions)
    flat = [caption for own in captions for caption in islice(cycle(own), most)]
    return narrowed(text.tokenize(flat).view(len(captions), most, -1))


def _shard(latents: Tensor, ids: Tensor, members: Tensor, held_out: Tensor) -> Shard:
    training, other = members & ~held_out, members & held_out
    largest = latents[members].abs().amax(dim=(0, 2, 3)).clamp(min=1e-6)
    scale = largest / INT8_STEPS
    return Shard(
        latents=quantise(latents[training], scale),
        latent_scale=scale,
        text_ids=ids[training],
        held_out_latents=quantise(latents[other], scale),
        held_out_text_ids=ids[other][:, 0],
    )
