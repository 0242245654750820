from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paris_p2p.model.encoders.autoencoder import SmallAutoencoder, save_autoencoder
from paris_p2p.model.encoders.clip import build_clip, build_tokenizer, save_clip

from .small import AUTOENCODER, CLIP, MERGES


@pytest.fixture
def autoencoder(tmp_path: Path) -> Path:
    model = SmallAutoencoder(AUTOENCODER)
    model.shift.copy_(torch.tensor([0.5, 0.0, -0.5, 1.0]))
    model.scale.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))
    save_autoencoder(tmp_path / "autoencoder.safetensors", model)
    return tmp_path / "autoencoder.safetensors"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    model = build_clip(CLIP, build_tokenizer(MERGES, CLIP.context_length).vocab_size)
    save_clip(tmp_path / "clip.safetensors", model, CLIP, MERGES)
    return tmp_path / "clip.safetensors"
