"""The encoders of a folder from elsewhere, as contents of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.autoencoder import (
    AutoencoderConfig,
    SmallAutoencoder,
    save_autoencoder,
)
from paris_p2p.model.encoders.autoencoder_kl import (
    KLConfig,
    empty_autoencoder_kl,
    save_autoencoder_kl,
)
from paris_p2p.model.encoders.text_tower import TowerConfig, empty_tower, save_text_tower
from paris_p2p.model.encoders.transformers_clip import (
    PREFIX,
    from_transformers,
    merges_in,
    merges_in_one,
    to_transformers,
    tower_config_in,
)
from paris_p2p.model.expert import LatentShape
from paris_p2p.model.weights import FLOATS, Expected, load_weights, tensor_names
from paris_p2p.pipeline import layout
from paris_p2p.pipeline.files_in import at, expect_same, read_json, read_text, weights_in
from paris_p2p.pipeline.writing import config_of

OLD_ATTENTION: Final = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v."} | {
    ".proj_attn.": ".to_out.0."
}
"""diffusers' names of an autoencoder's attention before version 0.18, and after."""

MOST_LEVELS: Final = 8
MOST_PATCH: Final = 16
"""Most levels of an autoencoder, each after the first halving the side; most pixels that a small
one folds, to a side."""


def read_vae(
    folder: Path, mixture: Mapping[str, Any], latent_shape: LatentShape, target: Path
) -> None:
    """Write the autoencoder in a folder as a content."""
    config = read_json(folder / layout.CONFIG)
    kind, source = config.get("_class_name"), weights_in(folder)
    if kind == "AutoencoderTiny":
        with at(folder / layout.CONFIG):
            small = _small(config, mixture.get("latents"), latent_shape)
            expect_same(config, config_of(small.body))
        with at(source):
            tensors = load_weights(source, _expected(small.body.state_dict()))
        small.body.load_state_dict(tensors, assign=True)
        save_autoencoder(target, small)
    elif kind == "AutoencoderKL":
        with at(folder / layout.CONFIG):
            sizes = _kl_config(config, latent_shape)
            body = empty_autoencoder_kl(sizes).body
            expect_same(config, config_of(body))
        with at(source):
            save_autoencoder_kl(target, _kl_tensors(source, body.state_dict()), sizes)
    else:
        raise BadContent(f"{folder} holds {kind!r}, not AutoencoderTiny or AutoencoderKL")


def read_text_encoder(folder: Path, target: Path) -> None:
    """Write the text encoder and the tokenizer in a folder as one content."""
    place = folder / layout.TEXT_ENCODER
    config, source = read_json(place / layout.CONFIG), weights_in(place)
    if config.get("_class_name") == "TextEncoder":
        with at(place / layout.CONFIG):
            sizes, merges = _own_tower(config)
            expected = _expected(empty_tower(sizes, merges).state_dict())
        with at(source):
            save_text_tower(target, load_weights(source, expected), sizes, merges)
        return
    merges = _merges(folder / layout.TOKENIZER)
    with at(place / layout.CONFIG):
        sizes = tower_config_in(config)
        tower = empty_tower(sizes, merges)
    with at(source):
        bare = not any(name.startswith(PREFIX) for name in tensor_names(source))
        expected = {
            name.removeprefix(PREFIX) if bare else name: bound
            for name, bound in _expected(to_transformers(tower.state_dict(), sizes.layers)).items()
        }
        tensors = load_weights(source, expected)
    named = {f"{PREFIX}{name.removeprefix(PREFIX)}": tensor for name, tensor in tensors.items()}
    save_text_tower(target, from_transformers(named, sizes.layers), sizes, merges)


def _small(config: Mapping[str, Any], latents: object, shape: LatentShape) -> SmallAutoencoder:
    """The small autoencoder of a config, its weights on the meta device, normalised as told."""
    told = latents if isinstance(latents, dict) else {}
    patch, widths = told.get("patch", 1), _levels(config, "encoder_block_out_channels")
    encoder = _levels(config, "num_encoder_blocks")
    if type(patch) is not int or not 1 <= patch <= MOST_PATCH:
        raise BadContent(f"patch is not a number from 1 to {MOST_PATCH}")
    channels, side, _ = shape
    sizes = AutoencoderConfig(
        image_px=(side * patch) << (len(encoder) - 1),
        patch=patch,
        width=widths[0],
        encoder_blocks=tuple(encoder),
        decoder_blocks=tuple(_levels(config, "num_decoder_blocks")),
        latent_channels=channels,
    )
    with torch.device("meta"):
        model = SmallAutoencoder(sizes)
    model.shift = _per_channel(told.get("mean", [0.0] * channels), channels)
    model.scale = _per_channel(told.get("std", [1.0] * channels), channels)
    return model


def _per_channel(values: object, channels: int) -> Tensor:
    if not isinstance(values, list) or len(values) != channels:
        raise BadContent(f"there are not {channels} means and deviations of latents")
    if not all(isinstance(value, int | float) and abs(value) < 1e4 for value in values):
        raise BadContent("a mean or deviation of latents is not a number below 10,000")
    return torch.tensor(values, dtype=torch.float32)


def _kl_config(config: Mapping[str, Any], shape: LatentShape) -> KLConfig:
    widths = _levels(config, "block_out_channels")
    scaling = config.get("scaling_factor", 0.18215)
    return KLConfig(
        image_px=shape[1] << (len(widths) - 1),
        scaling=float(scaling) if isinstance(scaling, int | float) else scaling,
        block_out_channels=tuple(widths),
        layers_per_block=config.get("layers_per_block", 1),
        latent_channels=config.get("latent_channels", 4),
        norm_num_groups=config.get("norm_num_groups", 32),
    )


def _levels(config: Mapping[str, Any], name: str) -> list[Any]:
    """A setting with a value for each of a few levels."""
    listed = config.get(name)
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_LEVELS:
        raise BadContent(f"{name} is not a list of 1 to {MOST_LEVELS} numbers")
    return listed


def _kl_tensors(source: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's tensors under diffusers' present names."""
    present = {name: _present_name(name) for name in tensor_names(source)}
    old = {new: old for old, new in present.items()}
    expected = {old.get(name, name): bound for name, bound in _expected(state).items()}
    tensors = load_weights(source, expected)
    return {present[name]: tensor for name, tensor in tensors.items()}


def _present_name(name: str) -> str:
    if ".attentions." in name:
        for old, new in OLD_ATTENTION.items():
            name = name.replace(old, new)
    return name


def _own_tower(config: Mapping[str, Any]) -> tuple[TowerConfig, list[str]]:
    """The sizes and merges in the config of a text encoder that `writing` wrote."""
    merges = config.get("merges")
    if not isinstance(merges, list) or not all(isinstance(merge, str) for merge in merges):
        raise BadContent("merges is not a list of text")
    named = ("width", "layers", "heads", "context_length")
    sizes: dict[str, Any] = {name: config.get(name) for name in named}
    return TowerConfig(**sizes, quick_gelu=config.get("quick_gelu", False)), merges


def _merges(folder: Path) -> list[str]:
    """The merges of the tokenizer in a folder, in the files of transformers 5 or before."""
    whole = folder / "tokenizer.json"
    if whole.is_file() and not (folder / "vocab.json").is_file():
        with at(whole):
            return merges_in_one(read_json(whole))
    with at(folder):
        return merges_in(read_json(folder / "vocab.json"), read_text(folder / "merges.txt"))


def _expected(state: Mapping[str, Tensor]) -> Expected:
    """The names and shapes of a file with these tensors, in any published float type."""
    types = frozenset(FLOATS.values())
    return {name: (tuple(tensor.shape), types) for name, tensor in state.items()}
