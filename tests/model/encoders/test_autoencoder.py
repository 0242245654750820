"""The run's own autoencoder comes back as it was, and lies about it are refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.autoencoder import SmallAutoencoder, load_autoencoder

from .small import AUTOENCODER, rewritten


def test_latents_have_the_shape_it_says(autoencoder: Path) -> None:
    model = load_autoencoder(autoencoder)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    latents = model.encode(images)
    assert model.latent_shape == (4, 4, 4)
    assert latents.shape == (3, *model.latent_shape)
    assert model.decode(latents).shape == images.shape


def test_bytes_and_file_give_the_same_network(autoencoder: Path) -> None:
    images = torch.rand(2, 3, 16, 16)
    from_file = load_autoencoder(autoencoder).encode(images)
    from_bytes = load_autoencoder(autoencoder.read_bytes()).encode(images)
    assert torch.equal(from_file, from_bytes)
    assert not from_file.requires_grad


def test_normalisation_is_undone_on_decoding(autoencoder: Path) -> None:
    model = load_autoencoder(autoencoder)
    raw = torch.randn(1, 4, 4, 4)
    normalised = (raw - model.shift[:, None, None]) / model.scale[:, None, None]
    plain = SmallAutoencoder(AUTOENCODER)
    plain.load_state_dict(model.state_dict() | {"shift": torch.zeros(4), "scale": torch.ones(4)})
    assert torch.allclose(model.decode(normalised), plain.decode(raw), atol=1e-5)


def test_the_patch_makes_the_grid_coarser() -> None:
    model = SmallAutoencoder(replace(AUTOENCODER, patch=4))
    assert model.latent_shape == (4, 2, 2)
    assert model.encode(torch.zeros(1, 3, 16, 16)).shape == (1, 4, 2, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 1 << 20},
        {"width": 8.0},
        {"width": True},
        {"latent_channels": 0},
        {"patch": -2},
        {"image_px": 18},
        {"encoder_blocks": [1] * 40},
        {"encoder_blocks": [1, 1, 1]},
        {"encoder_blocks": 3},
        {"decoder_blocks": [0, 10**9]},
        {"decoder_blocks": ["1", "1"]},
        {"surplus": 1},
    ],
)
def test_a_config_out_of_bounds_is_refused(autoencoder: Path, change: dict[str, Any]) -> None:
    config = json.dumps(asdict(AUTOENCODER) | change)
    with pytest.raises(BadContent):
        load_autoencoder(rewritten(autoencoder, {"config": config}))


def test_a_scale_of_zero_is_refused(autoencoder: Path) -> None:
    with pytest.raises(BadContent, match="scale"):
        load_autoencoder(rewritten(autoencoder, scale=torch.tensor([1.0, 0.0, 1.0, 1.0])))
