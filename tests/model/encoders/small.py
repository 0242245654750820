"""The smallest encoders there can be, and artefacts of them with something changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from paris_p2p.model.encoders.autoencoder import AutoencoderConfig
from paris_p2p.model.encoders.clip import ClipConfig
from paris_p2p.model.weights import read_metadata

AUTOENCODER = AutoencoderConfig(
    image_px=16, width=8, encoder_blocks=(0, 1), decoder_blocks=(1, 0), latent_channels=4
)
CLIP = ClipConfig(
    image_px=16,
    patch=8,
    image_width=16,
    image_layers=1,
    text_width=24,
    text_layers=2,
    context_length=8,
    head_width=8,
    features=12,
)
MERGES = ["c a", "ca t</w>", "d o", "do g</w>"]


def rewritten(
    path: Path, metadata: dict[str, str] | None = None, **tensors: torch.Tensor | None
) -> bytes:
    """The artefact with some metadata and tensors replaced, or left out where None."""
    state: dict[str, Any] = safetensors.torch.load_file(path) | tensors
    meta = read_metadata(path) | (metadata or {})
    return safetensors.torch.save({k: v for k, v in state.items() if v is not None}, meta)
