"""The text tower of a CLIP by itself, as an artefact: what a run needs to read prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn

from paris_p2p.errors import BadContent
from paris_p2p.files import write_atomically
from paris_p2p.model.encoders.artefact import check_range, fill, metadata_of, read_config
from paris_p2p.model.encoders.clip import build_tokenizer
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.weights import serialised

FORMAT = "paris-text-tower/1"


@dataclass(frozen=True)
class TowerConfig:
    """Sizes of a causal transformer on BPE tokens, and its activation."""

    width: int
    layers: int
    heads: int
    context_length: int
    quick_gelu: bool = False

    def __post_init__(self) -> None:
        check_range("width", self.width, 8, 8192)
        check_range("layers", self.layers, 1, 128)
        check_range("heads", self.heads, 1, 128)
        check_range("context_length", self.context_length, 2, 1024)
        if type(self.quick_gelu) is not bool:
            raise BadContent(f"quick_gelu is {self.quick_gelu!r}, not true or false")
        if self.width % self.heads:
            raise BadContent(f"a width of {self.width} does not divide into {self.heads} heads")


def tower_config(encoder: TextEncoder) -> TowerConfig:
    """The config of a text encoder's tower."""
    blocks = encoder.transformer.resblocks
    return TowerConfig(
        width=encoder.width,
        layers=len(blocks),
        heads=blocks[0].attn.num_heads,
        context_length=encoder.context_length,
        quick_gelu=isinstance(blocks[0].mlp.gelu, QuickGELU),
    )


def merges_of(encoder: TextEncoder) -> list[str]:
    """The merges of a text encoder's tokenizer, by rank."""
    return [" ".join(pair) for pair in encoder.tokenizer.bpe_ranks]


def empty_tower(config: TowerConfig, merges: Sequence[str]) -> TextEncoder:
    """The text encoder of these sizes, on the meta device: names and shapes without weights."""
    tokenizer = build_tokenizer(merges, config.context_length)
    with torch.device("meta"):
        tower = TextTransformer(
            context_length=config.context_length,
            vocab_size=tokenizer.vocab_size,
            width=config.width,
            heads=config.heads,
            layers=config.layers,
            act_layer=QuickGELU if config.quick_gelu else nn.GELU,
        )
        return TextEncoder(tower, tokenizer)


def save_text_tower(
    path: Path, tensors: Mapping[str, Tensor], config: TowerConfig, merges: Sequence[str]
) -> None:
    """Write the artefact: weights as they are, the config and the merges as metadata."""
    metadata = {
        "format": FORMAT,
        "config": json.dumps(asdict(config)),
        "merges": "\n".join(merges),
    }
    write_atomically(path, serialised(tensors, metadata), mode=0o644)


def load_text_tower(source: Path | bytes) -> TextEncoder:
    """The text encoder in an artefact, ready to use; `BadContent` if anything in it is wrong."""
    metadata = metadata_of(source, FORMAT)
    config = read_config(TowerConfig, metadata)
    encoder = empty_tower(config, metadata.get("merges", "").split("\n"))
    fill(encoder, source)
    # Not a weight, so not in the file; on the meta device it was never filled.
    causal = torch.full((config.context_length,) * 2, float("-inf")).triu(1)
    encoder.register_buffer("attn_mask", causal, persistent=False)
    return encoder.eval().requires_grad_(False)
