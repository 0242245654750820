from __future__ import annotations

import importlib
import sys

import diffusers

from paris_p2p.model import light_diffusers
from paris_p2p.model.light_diffusers import PACKAGES


def test_the_packages_do_not_import_all_their_networks() -> None:
    """What a training process lacks is asserted of a real one, in `training/test_worker`."""
    assert "diffusers.models.transformers.transformer_flux" not in sys.modules
    assert "diffusers.models.autoencoders.autoencoder_kl_wan" not in sys.modules


def test_whatever_diffusers_has_can_still_be_had() -> None:
    for name in ("DiTTransformer2DModel", "AutoencoderKL", "UNet2DModel"):
        assert getattr(diffusers, name).__name__ == name
    assert diffusers.PixArtTransformer2DModel is light_diffusers.PixArtTransformer2DModel


def test_packages_that_are_there_are_left_alone() -> None:
    def packages() -> list[object]:
        return [sys.modules[f"diffusers.models.{name}"] for name in PACKAGES]

    before = packages()
    importlib.reload(light_diffusers)
    assert packages() == before
