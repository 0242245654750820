"""The run's own small CLIP: text and images in one space, and its two towers."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.artefact import check_range, fill, metadata_of, read_config, write
from paris_p2p.model.encoders.towers import ImageEncoder, TextEncoder

FORMAT = "paris-clip/1"
MAX_MERGES = 1 << 16


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
        check_range("image_px", self.image_px, 8, 1024)
        check_range("patch", self.patch, 1, 64)
        for name in ("image_width", "text_width", "head_width", "features"):
            check_range(name, getattr(self, name), 8, 2048)
        for name in ("image_layers", "text_layers"):
            check_range(name, getattr(self, name), 1, 48)
        check_range("context_length", self.context_length, 2, 256)
        widths = (self.image_width, self.text_width)
        if any(width % self.head_width for width in widths) or self.image_px % self.patch:
            raise BadContent("a width is not a multiple of the head's, or the image of the patch's")


def build_clip(config: ClipConfig, vocabulary: int) -> open_clip.CLIP:
    """The small CLIP that `config` describes, with fresh weights; images are in [-1, 1]."""
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

    Pad is id 0, start and end are the two highest ids. Raises `BadContent` when a merge is not
    two symbols, has unknown parts or occurs twice.
    """
    if len(merges) > MAX_MERGES:
        raise BadContent(f"{len(merges)} merges are more than {MAX_MERGES}")
    known = {symbol + end for symbol in bytes_to_unicode().values() for end in ("", "</w>")}
    for merge in merges:
        parts = merge.split(" ")
        if len(parts) != 2 or not known.issuperset(parts) or "".join(parts) in known:
            raise BadContent(f"{merge!r} does not merge two known symbols into a new one")
        known.add("".join(parts))
    with tempfile.NamedTemporaryFile(suffix=".txt.gz") as file:
        file.write(gzip.compress("\n".join(["#version: 1", *merges]).encode()))
        file.flush()
        return SimpleTokenizer(bpe_path=file.name, context_length=context_length)


def save_clip(path: Path, clip: open_clip.CLIP, config: ClipConfig, merges: Sequence[str]) -> None:
    """Write the artefact: float16 weights, the config and the merges as metadata."""
    metadata = {
        "format": FORMAT,
        "config": json.dumps(asdict(config)),
        "merges": "\n".join(merges),
    }
    write(path, clip, metadata)


def load_clip(source: Path | bytes) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """Load the run's own CLIP with both towers; `BadContent` if anything in it is wrong."""
    metadata = metadata_of(source, FORMAT)
    config = read_config(ClipConfig, metadata)
    tokenizer = build_tokenizer(metadata.get("merges", "").split("\n"), config.context_length)
    with torch.device("meta"):
        clip = build_clip(config, tokenizer.vocab_size)
    fill(clip, source)
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
