"""A CLIP's text tower and tokenizer in the form of Hugging Face's transformers: out and in.

Only files are written and read here; transformers itself is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from open_clip.tokenizer import bytes_to_unicode
from torch import Tensor

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.text_tower import TowerConfig

START, END = "<|startoftext|>", "<|endoftext|>"
PREFIX: Final = "text_model."
_SIZES: Final = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "context_length": "max_position_embeddings",
}
_QKV: Final = ("q_proj", "k_proj", "v_proj")
_BLOCK: Final = {
    "ln_1": "layer_norm1",
    "attn.out_proj": "self_attn.out_proj",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
"""Parts of a block: their names in open_clip, and in transformers."""


def transformers_config(config: TowerConfig, vocabulary: int) -> dict[str, Any]:
    """config.json of transformers' `CLIPTextModel`."""
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "projection_dim": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.context_length,
        "hidden_act": "quick_gelu" if config.quick_gelu else "gelu",
        "layer_norm_eps": 1e-5,
        "attention_dropout": 0.0,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": 1,
    }


def tower_config_in(config: Mapping[str, Any]) -> TowerConfig:
    """The sizes in such a config. BadContent when a CLIP's text tower cannot have them."""
    activation, width = config.get("hidden_act"), config.get("hidden_size")
    if activation not in ("quick_gelu", "gelu"):
        raise BadContent(f"hidden_act is {activation!r}, not quick_gelu or gelu")
    if type(width) is not int or config.get("intermediate_size") != 4 * width:
        raise BadContent("intermediate_size is not four times hidden_size")
    if config.get("layer_norm_eps", 1e-5) != 1e-5:
        raise BadContent(f"layer_norm_eps is {config['layer_norm_eps']!r}, not 1e-5")
    sizes: dict[str, Any] = {ours: config.get(theirs) for ours, theirs in _SIZES.items()}
    return TowerConfig(**sizes, quick_gelu=activation == "quick_gelu")


def to_transformers(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """A text encoder's tensors under transformers' names."""
    renamed = {theirs: tensors[ours] for ours, theirs in _same_tensors(layers)}
    for ours, theirs, kind in _attentions(layers):
        parts = tensors[f"{ours}.in_proj_{kind}"].chunk(3)
        renamed |= {f"{theirs}.{name}.{kind}": part for name, part in zip(_QKV, parts, strict=True)}
    return {name: tensor.contiguous() for name, tensor in renamed.items()}


def from_transformers(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The inverse of `to_transformers`."""
    renamed = {ours: tensors[theirs] for ours, theirs in _same_tensors(layers)}
    for ours, theirs, kind in _attentions(layers):
        parts = [tensors[f"{theirs}.{name}.{kind}"] for name in _QKV]
        renamed[f"{ours}.in_proj_{kind}"] = torch.cat(parts)
    return renamed


def tokenizer_files(merges: Sequence[str], context_length: int) -> dict[str, Any]:
    """The files of transformers' `CLIPTokenizer`: name -> text, or what becomes JSON."""
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    return {
        "vocab.json": {symbol: number for number, symbol in enumerate(vocabulary_of(merges))},
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
        "special_tokens_map.json": special,
        "tokenizer_config.json": {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": context_length,
            "do_lower_case": True,
            "errors": "replace",
            **special,
        },
    }


def merges_in(vocabulary: object, merges_file: str) -> list[str]:
    """The merges in vocab.json and merges.txt. BadContent if the one does not fit the other."""
    lines = [line for line in merges_file.splitlines() if line and line[:8] != "#version"]
    return _checked(vocabulary, lines)


def merges_in_one(tokenizer: Mapping[str, Any]) -> list[str]:
    """The merges in tokenizer.json, which transformers 5 writes instead. BadContent as above."""
    model = tokenizer.get("model")
    listed = model.get("merges") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(listed, list):
        raise BadContent("there is no list of merges in its model")
    pairs = [" ".join(map(str, pair)) if isinstance(pair, list) else str(pair) for pair in listed]
    return _checked(model.get("vocab"), pairs)


def _checked(vocabulary: object, merges: list[str]) -> list[str]:
    """The merges. BadContent unless the vocabulary's ids are CLIP's over them."""
    expected = {symbol: number for number, symbol in enumerate(vocabulary_of(merges))}
    if vocabulary != expected:
        raise BadContent("its vocabulary is not CLIP's: the ids do not follow from the merges")
    return merges


def vocabulary_of(merges: Sequence[str]) -> list[str]:
    """The symbols of CLIP's tokenizer over these merges, by id, under transformers' names."""
    letters = list(bytes_to_unicode().values())
    joined = [merge.replace(" ", "") for merge in merges]
    return [*letters, *(letter + "</w>" for letter in letters), *joined, START, END]


def _same_tensors(layers: int) -> Iterator[tuple[str, str]]:
    """The tensors that both have alike: open_clip's name, transformers' name."""
    yield "token_embedding.weight", f"{PREFIX}embeddings.token_embedding.weight"
    yield "positional_embedding", f"{PREFIX}embeddings.position_embedding.weight"
    pairs = [("ln_final", f"{PREFIX}final_layer_norm")]
    for layer in range(layers):
        ours, theirs = f"transformer.resblocks.{layer}", f"{PREFIX}encoder.layers.{layer}"
        pairs += [(f"{ours}.{part}", f"{theirs}.{name}") for part, name in _BLOCK.items()]
    for ours, theirs in pairs:
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _attentions(layers: int) -> Iterator[tuple[str, str, str]]:
    """The attentions' inputs, one tensor in open_clip and three in transformers."""
    for layer in range(layers):
        for kind in ("weight", "bias"):
            yield (
                f"transformer.resblocks.{layer}.attn",
                f"{PREFIX}encoder.layers.{layer}.self_attn",
                kind,
            )
