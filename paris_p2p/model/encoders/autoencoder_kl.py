"""diffusers' `AutoencoderKL` at one image size: from a hub, or as an artefact of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from paris_p2p.errors import BadContent
from paris_p2p.files import write_atomically
from paris_p2p.model.encoders.artefact import check_range, fill, metadata_of, read_config
from paris_p2p.model.encoders.autoencoder import Autoencoder
from paris_p2p.model.weights import serialised

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

FORMAT = "paris-autoencoder-kl/1"


class KLAutoencoder(Autoencoder):
    """An `AutoencoderKL` at one image size; its latents are multiplied by `scaling`."""

    def __init__(self, body: AutoencoderKL, scaling: float, image_px: int) -> None:
        super().__init__()
        self.body = body
        self.scaling = scaling
        self.image_px = image_px

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one image's latent."""
        side = self.image_px >> (len(self.body.config["block_out_channels"]) - 1)
        return self.body.config["latent_channels"], side, side

    def encode(self, images: Tensor) -> Tensor:
        """Images to the mode of their latents' distribution, scaled."""
        mode: Tensor = self.body.encode(images).latent_dist.mode()
        return mode * self.scaling

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to images, not clamped."""
        images: Tensor = self.body.decode(latents / self.scaling).sample
        return images


@dataclass(frozen=True)
class KLConfig:
    """Sizes of an `AutoencoderKL`; each level after the first halves the side."""

    image_px: int
    scaling: float
    block_out_channels: tuple[int, ...]
    layers_per_block: int
    latent_channels: int
    norm_num_groups: int

    def __post_init__(self) -> None:
        check_range("image_px", self.image_px, 8, 4096)
        check_range("layers_per_block", self.layers_per_block, 1, 16)
        check_range("latent_channels", self.latent_channels, 1, 64)
        check_range("norm_num_groups", self.norm_num_groups, 1, 1024)
        widths = self.block_out_channels
        if not isinstance(widths, tuple) or not 1 <= len(widths) <= 8:
            raise BadContent(f"block_out_channels are {widths!r}, not 1 to 8 widths")
        for width in widths:
            check_range("block_out_channels", width, 1, 4096)
            if width % self.norm_num_groups:
                raise BadContent(f"a width of {width} is no multiple of {self.norm_num_groups}")
        if self.image_px % (1 << (len(widths) - 1)):
            raise BadContent(f"{self.image_px} px cannot be halved {len(widths) - 1} times")
        if not isinstance(self.scaling, float) or not 1e-3 <= self.scaling <= 1e3:
            raise BadContent(f"a scaling factor of {self.scaling!r}")


def empty_autoencoder_kl(config: KLConfig) -> KLAutoencoder:
    """The autoencoder of these sizes, on the meta device: names and shapes without weights."""
    from diffusers import AutoencoderKL  # with its loaders, which take a second to import

    levels = len(config.block_out_channels)
    with torch.device("meta"):
        body = AutoencoderKL(
            block_out_channels=config.block_out_channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=config.layers_per_block,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_num_groups,
            scaling_factor=config.scaling,
        )
    return KLAutoencoder(body, config.scaling, config.image_px)


def save_autoencoder_kl(path: Path, tensors: Mapping[str, Tensor], config: KLConfig) -> None:
    """Write the artefact: weights under diffusers' names as they are, the config as metadata."""
    named = {f"body.{name}": tensor for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "config": json.dumps(asdict(config))}
    write_atomically(path, serialised(named, metadata), mode=0o644)


def load_autoencoder_kl(source: Path | bytes) -> KLAutoencoder:
    """The autoencoder in an artefact, ready to use; `BadContent` if anything in it is wrong."""
    model = empty_autoencoder_kl(read_config(KLConfig, metadata_of(source, FORMAT)))
    fill(model, source)
    return model.eval().requires_grad_(False)
