"""Images <-> latents: the contract of every autoencoder, and the run's own small one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.artefact import check_range, fill, metadata_of, read_config, write
from paris_p2p.model.light_diffusers import AutoencoderTiny

FORMAT = "paris-autoencoder/1"


class Autoencoder(nn.Module, ABC):
    """Images (N, 3, H, W) in [-1, 1] <-> latents (N, C, h, w) of about unit std per channel."""

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one image's latent."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images to latents."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents to images, not clamped."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of a small autoencoder; each level after the first halves the side.

    `patch` is the side of the pixel square folded into channels before the first convolution.
    Without that, most of the compute would go to the full resolution of a small image.
    """

    image_px: int = 64
    patch: int = 2
    width: int = 48
    encoder_blocks: tuple[int, ...] = (1, 2, 3)
    decoder_blocks: tuple[int, ...] = (4, 3, 2)
    latent_channels: int = 16

    def __post_init__(self) -> None:
        check_range("image_px", self.image_px, 8, 1024)
        check_range("patch", self.patch, 1, 16)
        check_range("width", self.width, 1, 1024)
        check_range("latent_channels", self.latent_channels, 1, 64)
        for blocks in (self.encoder_blocks, self.decoder_blocks):
            if not isinstance(blocks, tuple) or not 1 <= len(blocks) <= 6:
                raise BadContent(f"blocks are {blocks!r}, not 1 to 6 levels")
            for count in blocks:
                check_range("blocks", count, 0, 16)
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            raise BadContent("encoder and decoder have different numbers of levels")
        if self.image_px % self.downsampling:
            raise BadContent(f"{self.image_px} px is not a multiple of {self.downsampling}")

    @property
    def downsampling(self) -> int:
        """Pixels of the image's side per latent of the latent's side."""
        return self.patch << (len(self.encoder_blocks) - 1)


class SmallAutoencoder(Autoencoder):
    """The run's own autoencoder: diffusers' `AutoencoderTiny` on pixels folded into channels.

    `shift` and `scale`, (C,), normalise its latents to zero mean and unit std per channel.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        folded = 3 * config.patch**2
        levels = len(config.encoder_blocks)
        self.body = AutoencoderTiny(
            in_channels=folded,
            out_channels=folded,
            encoder_block_out_channels=(config.width,) * levels,
            decoder_block_out_channels=(config.width,) * levels,
            num_encoder_blocks=config.encoder_blocks,
            num_decoder_blocks=config.decoder_blocks,
            latent_channels=config.latent_channels,
        )
        self.register_buffer("shift", torch.zeros(config.latent_channels))
        self.register_buffer("scale", torch.ones(config.latent_channels))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one image's latent."""
        side = self.config.image_px // self.config.downsampling
        return self.config.latent_channels, side, side

    def encode(self, images: Tensor) -> Tensor:
        """Images to normalised latents."""
        raw: Tensor = self.body.encoder(F.pixel_unshuffle(images, self.config.patch))
        return (raw - self.shift[:, None, None]) / self.scale[:, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents to images, not clamped."""
        raw = latents * self.scale[:, None, None] + self.shift[:, None, None]
        return F.pixel_shuffle(self.body.decoder(raw), self.config.patch)


def save_autoencoder(path: Path, model: SmallAutoencoder) -> None:
    """Write the artefact: float16 weights, float32 normalisation, the config as metadata."""
    metadata = {"format": FORMAT, "config": json.dumps(asdict(model.config))}
    write(path, model, metadata, whole=("shift", "scale"))


def load_autoencoder(source: Path | bytes) -> SmallAutoencoder:
    """Load the run's own autoencoder, ready to use; `BadContent` if anything in it is wrong."""
    metadata = metadata_of(source, FORMAT)
    with torch.device("meta"):
        model = SmallAutoencoder(read_config(AutoencoderConfig, metadata))
    fill(model, source)
    if not bool((model.scale > 0).all()):
        raise BadContent("the autoencoder's scale is not positive")
    return model.eval().requires_grad_(False)
