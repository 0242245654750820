"""The frozen networks around the experts: pixels <-> latents, captions -> tokens, image features.

Two families share each contract. The run's own small encoders are one safetensors file each, with
the configuration as JSON in its metadata; they come from other peers and are checked before any
of it is used. The published ones (`sd-vae-ft-mse`, CLIP ViT-L/14, DINOv2) come from a hub or a
local folder through diffusers, open_clip and timm.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
import open_clip
import safetensors.torch
import timm
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
from torch import Tensor, nn
from torch.nn import functional as F

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.home import write_atomically
from paris_p2p.model.weights import FLOATS, load_weights, read_metadata

AUTOENCODER_FORMAT = "paris-autoencoder/1"
CLIP_FORMAT = "paris-clip/1"

SD_VAE_SCALING = 0.18215
"""Stable Diffusion's factor that gives its latents unit std."""

CLIP_WEIGHTS = "open_clip_model.safetensors"
LOCAL_DIR = "local-dir:"
TIMM = "timm:"

MAX_MERGES = 1 << 16
MAX_CAPTION_CHARS = 4096
"""What is longer is cut before it is tokenized: no context holds as much."""

Config = TypeVar("Config", "AutoencoderConfig", "ClipConfig")


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of a small autoencoder; each level after the first halves the side.

    `patch` is the side of the pixel square folded into channels before the first convolution:
    most of a small image's compute would otherwise go to its full resolution.
    """

    image_px: int = 64
    patch: int = 2
    width: int = 48
    encoder_blocks: tuple[int, ...] = (1, 2, 3)
    decoder_blocks: tuple[int, ...] = (4, 3, 2)
    latent_channels: int = 16

    def __post_init__(self) -> None:
        _check_range("image_px", self.image_px, 8, 1024)
        _check_range("patch", self.patch, 1, 16)
        _check_range("width", self.width, 1, 1024)
        _check_range("latent_channels", self.latent_channels, 1, 64)
        for blocks in (self.encoder_blocks, self.decoder_blocks):
            if not isinstance(blocks, tuple) or not 1 <= len(blocks) <= 6:
                raise BadContent(f"blocks are {blocks!r}, not 1 to 6 levels")
            for count in blocks:
                _check_range("blocks", count, 0, 16)
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            raise BadContent("encoder and decoder have different numbers of levels")
        if self.image_px % self.downsampling:
            raise BadContent(f"{self.image_px} px is no multiple of {self.downsampling}")

    @property
    def downsampling(self) -> int:
        """Pixels of the image's side per latent of the latent's side."""
        return self.patch << (len(self.encoder_blocks) - 1)


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


class SmallAutoencoder(Autoencoder):
    """The run's own: diffusers' `AutoencoderTiny` on pixel squares folded into channels.

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


class HubAutoencoder(Autoencoder):
    """A published `AutoencoderKL` at one image size; its latents are multiplied by `scaling`."""

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


def save_autoencoder(path: Path, model: SmallAutoencoder) -> None:
    """Write the artefact: float16 weights, float32 normalisation, the config as metadata."""
    metadata = {"format": AUTOENCODER_FORMAT, "config": json.dumps(asdict(model.config))}
    _write(path, model, metadata, whole=("shift", "scale"))


def load_autoencoder(source: Path | bytes) -> SmallAutoencoder:
    """Load the run's own autoencoder, ready to use; `BadContent` if anything about it is off."""
    metadata = _metadata(source, AUTOENCODER_FORMAT)
    with torch.device("meta"):
        model = SmallAutoencoder(_config(AutoencoderConfig, metadata))
    _fill(model, source)
    if not bool((model.scale > 0).all()):
        raise BadContent("the autoencoder's scale is not positive")
    return model.eval().requires_grad_(False)


def load_hub_autoencoder(
    name_or_dir: str, scaling: float = SD_VAE_SCALING, image_px: int = 256
) -> HubAutoencoder:
    """Load a published `AutoencoderKL` (`stabilityai/sd-vae-ft-mse`) or a local copy of one.

    Raises `NotAvailable` where neither hub nor disk has it in safetensors.
    """
    try:
        body = AutoencoderKL.from_pretrained(name_or_dir, use_safetensors=True)
    except OSError as error:
        raise _not_had(name_or_dir) from error
    return HubAutoencoder(body, scaling, image_px).eval().requires_grad_(False)


@dataclass(frozen=True)
class ClipConfig:
    """Sizes of a small CLIP: a ViT on square images, a causal transformer on BPE tokens."""

    image_px: int = 64
    patch: int = 8
    image_width: int = 96
    image_layers: int = 4
    text_width: int = 128
    text_layers: int = 3
    context_length: int = 24
    head_width: int = 32
    features: int = 128

    def __post_init__(self) -> None:
        _check_range("image_px", self.image_px, 8, 1024)
        _check_range("patch", self.patch, 1, 64)
        for name in ("image_width", "text_width", "head_width", "features"):
            _check_range(name, getattr(self, name), 8, 2048)
        for name in ("image_layers", "text_layers"):
            _check_range(name, getattr(self, name), 1, 48)
        _check_range("context_length", self.context_length, 2, 256)
        widths = (self.image_width, self.text_width)
        if any(width % self.head_width for width in widths) or self.image_px % self.patch:
            raise BadContent("widths are no multiples of the head's, or the image of the patch's")


def build_clip(config: ClipConfig, vocabulary: int) -> open_clip.CLIP:
    """The small CLIP that `config` describes, with fresh weights; images come in [-1, 1]."""
    vision = open_clip.CLIPVisionCfg(
        layers=config.image_layers,
        width=config.image_width,
        head_width=config.head_width,
        patch_size=config.patch,
        image_size=config.image_px,
    )
    text = open_clip.CLIPTextCfg(
        context_length=config.context_length,
        vocab_size=vocabulary,
        width=config.text_width,
        heads=config.text_width // config.head_width,
        layers=config.text_layers,
    )
    return open_clip.CLIP(embed_dim=config.features, vision_cfg=vision, text_cfg=text)


def build_tokenizer(merges: Sequence[str], context_length: int) -> SimpleTokenizer:
    """open_clip's BPE tokenizer over a list of merges of our own ("th e</w>"), by rank.

    Pad is id 0, start and end are the two highest ids. Raises `BadContent` on a merge that is not
    two symbols, of unknown parts or there twice.
    """
    if len(merges) > MAX_MERGES:
        raise BadContent(f"{len(merges)} merges are more than {MAX_MERGES}")
    known = {symbol + end for symbol in bytes_to_unicode().values() for end in ("", "</w>")}
    for merge in merges:
        parts = merge.split(" ")
        if len(parts) != 2 or not known.issuperset(parts) or "".join(parts) in known:
            raise BadContent(f"{merge!r} is no merge of two known symbols into a new one")
        known.add("".join(parts))
    with tempfile.NamedTemporaryFile(suffix=".txt.gz") as file:
        file.write(gzip.compress("\n".join(["#version: 1", *merges]).encode()))
        file.flush()
        return SimpleTokenizer(bpe_path=file.name, context_length=context_length)


class TextEncoder(nn.Module):
    """Captions -> per-token hidden states of a CLIP's text tower, what experts attend to."""

    def __init__(self, clip: open_clip.CLIP, tokenizer: SimpleTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.context_length: int = clip.context_length
        self.vocabulary: int = clip.vocab_size
        self.token_embedding = clip.token_embedding
        self.positional_embedding = clip.positional_embedding
        self.transformer = clip.transformer
        self.ln_final = clip.ln_final
        self.register_buffer("attn_mask", clip.attn_mask, persistent=False)

    @property
    def width(self) -> int:
        """Channels per token."""
        return int(self.token_embedding.embedding_dim)

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """Token ids, int64 (N, L): start, words, end, then pads of id 0; cut where too long."""
        clipped = [caption[:MAX_CAPTION_CHARS] for caption in captions]
        ids: Tensor = self.tokenizer(clipped, context_length=self.context_length)
        return ids

    def truncated(self, caption: str) -> bool:
        """Whether `tokenize` cuts this caption."""
        if len(caption) > MAX_CAPTION_CHARS:
            return True
        return len(self.tokenizer.encode(caption)) + 2 > self.context_length

    def mask(self, ids: Tensor) -> Tensor:
        """Bool (N, L), true up to and including the end token: what may be attended to."""
        end = (ids == self.tokenizer.eot_token_id).int().argmax(dim=1, keepdim=True)
        attended: Tensor = torch.arange(ids.shape[1], device=ids.device) <= end
        return attended

    def encode(self, ids: Tensor) -> Tensor:
        """Ids (N, L) -> (N, L, D), every token's final hidden state, layer-normed.

        Raises `BadContent` on ids that the vocabulary does not have.
        """
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocabulary:
            raise BadContent(f"token ids lie outside the vocabulary of {self.vocabulary}")
        hidden = self.token_embedding(ids) + self.positional_embedding
        hidden = self.transformer(hidden, attn_mask=self.attn_mask)
        states: Tensor = self.ln_final(hidden)
        return states


class ImageEncoder(nn.Module):
    """Images -> unit-length feature vectors, by any tower that takes (N, 3, px, px)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, tower: nn.Module, image_px: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.tower = tower
        self.image_px = image_px
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1], resized where the tower's size differs -> (N, D)."""
        size = (self.image_px, self.image_px)
        if images.shape[-2:] != size:
            images = F.interpolate(
                images, size, mode="bicubic", align_corners=False, antialias=True
            ).clamp(-1, 1)
        unit = (images + 1) / 2
        centred = (unit - self.mean[:, None, None]) / self.std[:, None, None]
        return F.normalize(self.tower(centred), dim=-1)


def save_clip(path: Path, clip: open_clip.CLIP, config: ClipConfig, merges: Sequence[str]) -> None:
    """Write the artefact: float16 weights, the config and the merges as metadata."""
    metadata = {
        "format": CLIP_FORMAT,
        "config": json.dumps(asdict(config)),
        "merges": "\n".join(merges),
    }
    _write(path, clip, metadata)


def load_clip(source: Path | bytes) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """Load the run's own CLIP whole; `BadContent` if anything about it is off."""
    metadata = _metadata(source, CLIP_FORMAT)
    config = _config(ClipConfig, metadata)
    tokenizer = build_tokenizer(metadata.get("merges", "").split("\n"), config.context_length)
    with torch.device("meta"):
        clip = build_clip(config, tokenizer.vocab_size)
    _fill(clip, source)
    # Not a weight, so not in the file; on the meta device it was never filled.
    causal = torch.full((config.context_length,) * 2, float("-inf")).triu(1)
    clip.register_buffer("attn_mask", causal, persistent=False)
    return clip.eval().requires_grad_(False), tokenizer


def load_text_encoder(source: Path | bytes) -> TextEncoder:
    """The text tower of the run's own CLIP."""
    return TextEncoder(*load_clip(source))


def load_image_encoder(source: Path | bytes) -> ImageEncoder:
    """The image tower of the run's own CLIP."""
    clip, _ = load_clip(source)
    return ImageEncoder(clip.visual, clip.visual.image_size[0], (0.5,) * 3, (0.5,) * 3)


def load_hub_text_encoder(name: str) -> TextEncoder:
    """The text tower of a published CLIP: see `load_hub_clip` for names."""
    clip, tokenizer = load_hub_clip(name)
    return TextEncoder(clip, tokenizer)


def load_hub_clip(name: str) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """A published CLIP by open_clip's names, its weights from safetensors and nothing else.

    `ViT-L-14/openai` is a model and its pretrained tag, from the hub; `ViT-L-14/FILE.safetensors`
    its weights from a file; `local-dir:FOLDER` a folder with `open_clip_config.json` beside
    `open_clip_model.safetensors`. Raises `BadContent` on any other name, `NotAvailable` where the
    hub cannot be reached.
    """
    if name.startswith(LOCAL_DIR):
        folder = Path(name.removeprefix(LOCAL_DIR))
        if not (folder / CLIP_WEIGHTS).is_file():
            raise BadContent(f"{folder} has no {CLIP_WEIGHTS}")
        clip = open_clip.create_model(name, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    else:
        model, _, tag = name.partition("/")
        published = open_clip.get_pretrained_cfg(model, tag)
        weights = _hub_file(published["hf_hub"].rstrip("/"), CLIP_WEIGHTS) if published else tag
        if not weights.endswith(".safetensors"):
            raise BadContent(f"{name!r} is no CLIP of open_clip's with weights in safetensors")
        quick = bool(published.get("quick_gelu", False))
        clip = open_clip.create_model(model, pretrained=weights, force_quick_gelu=quick)
        tokenizer = open_clip.get_tokenizer(model)
    if not isinstance(clip, open_clip.CLIP) or not isinstance(tokenizer, SimpleTokenizer):
        raise BadContent(f"{name!r} has another text tower than CLIP's own")
    return clip.eval().requires_grad_(False), tokenizer


def load_hub_image_encoder(name: str) -> ImageEncoder:
    """A published image tower: a CLIP named as for `load_hub_clip`, or one of timm's by `timm:`.

    `timm:vit_large_patch14_dinov2.lvd142m` comes from the hub, `timm:NAME/FILE.safetensors` takes
    the architecture's weights from a file.
    """
    if not name.startswith(TIMM):
        clip, _ = load_hub_clip(name)
        size = clip.visual.image_size
        mean, std = clip.visual.preprocess_cfg["mean"], clip.visual.preprocess_cfg["std"]
        return ImageEncoder(clip.visual, size[0], mean, std).eval().requires_grad_(False)
    model, _, weights = name.removeprefix(TIMM).partition("/")
    weights = weights or _hub_file(f"timm/{model}", "model.safetensors")
    tower = timm.create_model(model, num_classes=0)
    tower.load_state_dict(safetensors.torch.load_file(weights))
    data = timm.data.resolve_model_data_config(tower)
    encoder = ImageEncoder(tower, data["input_size"][-1], data["mean"], data["std"])
    return encoder.eval().requires_grad_(False)


def _hub_file(repository: str, name: str) -> str:
    """The local path of a hub's file, downloaded where the cache lacks it."""
    try:
        return huggingface_hub.hf_hub_download(repository, name)
    except OSError as error:
        raise _not_had(f"{repository}/{name}") from error


def _not_had(name: str) -> NotAvailable:
    remedy = "name a local copy of it, or download it once while the hub can be reached"
    return NotAvailable(f"{name} is neither in the hub's local cache nor to be had now", remedy)


def _config(kind: type[Config], metadata: Mapping[str, str]) -> Config:
    """Read the config, JSON in the metadata; its own checks bound every size in it."""
    try:
        given = json.loads(metadata.get("config", ""))
    except (ValueError, RecursionError) as error:
        raise BadContent("the encoder's config is no JSON") from error
    names = {field.name for field in fields(kind)}
    if not isinstance(given, dict) or given.keys() != names:
        raise BadContent(f"the encoder's config does not have the fields {sorted(names)}")
    frozen: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items()
    }
    return kind(**frozen)


def _metadata(source: Path | bytes, form: str) -> dict[str, str]:
    metadata = read_metadata(source)
    if metadata.get("format") != form:
        raise BadContent(f"the encoder's format is {metadata.get('format')!r}, not {form!r}")
    return metadata


def _fill(module: nn.Module, source: Path | bytes) -> None:
    """Give a module that was built on the meta device its weights, as float32."""
    types = frozenset(FLOATS.values())
    expected = {name: (tuple(t.shape), types) for name, t in module.state_dict().items()}
    tensors = load_weights(source, expected)
    module.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)


def _write(
    path: Path, module: nn.Module, metadata: dict[str, str], whole: tuple[str, ...] = ()
) -> None:
    """Write a module's weights as float16, those named in `whole` as float32."""
    state = {
        name: tensor.to("cpu", torch.float32 if name in whole else torch.float16).contiguous()
        for name, tensor in module.state_dict().items()
    }
    write_atomically(path, safetensors.torch.save(state, metadata), mode=0o644)


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise BadContent(f"{name} is {value!r}, not a whole number in {low} .. {high}")
