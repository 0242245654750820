"""Reads a folder of diffusers' form into the contents of a run.

The folder was written by `writing`, or is laid out like the published Paris repository. Its weights
come from strangers: only safetensors are read, and each file must have exactly the names and shapes
that its config calls for. No module of the folder is run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.stored import load_stored_autoencoder, load_stored_text_encoder
from paris_p2p.model.expert import Expert, LatentShape
from paris_p2p.model.router import Router
from paris_p2p.model.weights import Published, expected_of, load_weights
from paris_p2p.pipeline import layout
from paris_p2p.pipeline.encoders_in import read_text_encoder, read_vae
from paris_p2p.pipeline.files_in import at, expect_same, read_json, weights_in
from paris_p2p.pipeline.layout import expert_folder
from paris_p2p.pipeline.writing import config_of
from paris_p2p.records.objectives import FLOW
from paris_p2p.records.run import ROUTER, ExpertSpec, RouterSpec

MOST_EXPERTS: Final = 4096
MOST_NAME: Final = 64
"""Most experts of a run, and most characters of its name."""


def read_folder(folder: Path, out: Path, on_part: Callable[[int, int], None]) -> dict[str, Any]:
    """Write the contents made of `folder` into `out`; returns what the run's manifest needs.

    "name", "latent_shape", "text_context", "text_width", "router", "experts": per expert its shape
    and objective, and "present": the experts whose weights are there. `layout` has the contents'
    names. BadContent names the file, and the tensor or setting, that does not fit.
    """
    index = read_json(folder / layout.INDEX)
    mixture = index.get(layout.MIXTURE)
    mixture = mixture if isinstance(mixture, dict) else {}
    present = [k for k in range(MOST_EXPERTS) if (folder / expert_folder(k)).is_dir()]
    if not present:
        raise BadContent(f"{folder} has no folder {expert_folder(0)}", "it is not a Paris pipeline")
    parts = len(present) + 3
    shapes = {k: _expert_shape(folder / expert_folder(k)) for k in present}
    router, clusters = _router_shape(folder / layout.ROUTER)
    if max(present) >= clusters:
        raise BadContent(
            f"there is an {expert_folder(max(present))}, and the router has {clusters}"
        )
    latent_shape = _common_shape(folder, shapes)

    on_part(0, parts)
    read_vae(folder / layout.VAE, mixture, latent_shape, out / layout.AUTOENCODER)
    autoencoder = load_stored_autoencoder(out / layout.AUTOENCODER)
    if autoencoder.latent_shape != latent_shape:
        raise BadContent(
            f"the experts read latents of {latent_shape}, and vae/ makes {autoencoder.latent_shape}"
        )
    on_part(1, parts)
    read_text_encoder(folder, out / layout.TEXT_TOWER)
    text = load_stored_text_encoder(out / layout.TEXT_TOWER)
    for k, (spec, _) in shapes.items():
        if spec.caption_width != text.width:
            raise BadContent(
                f"{expert_folder(k)} reads tokens of width {spec.caption_width}, and "
                f"text_encoder/ gives {text.width}"
            )
    on_part(2, parts)
    with torch.device("meta"):
        empty = Router(router, latent_shape, clusters)
    _take(folder / layout.ROUTER, empty, out / layout.checkpoint_file(ROUTER))
    for number, k in enumerate(present):
        on_part(3 + number, parts)
        with torch.device("meta"):
            expert = Expert(shapes[k][0], latent_shape)
        _take(folder / expert_folder(k), expert, out / layout.checkpoint_file(k))
    on_part(parts, parts)
    objectives = _objectives(mixture, clusters)
    common = shapes[present[0]][0]
    return {
        "name": _name(folder),
        "latent_shape": list(latent_shape),
        "text_context": text.context_length,
        "text_width": text.width,
        "router": asdict(router),
        "experts": [
            {"shape": asdict(shapes[k][0] if k in shapes else common), "objective": objectives[k]}
            for k in range(clusters)
        ],
        "present": present,
    }


def _expert_shape(folder: Path) -> tuple[ExpertSpec, LatentShape]:
    """An expert's shape and its latents', from its config."""
    config = read_json(folder / layout.CONFIG)
    with at(folder / layout.CONFIG):
        heads, width = config.get("num_attention_heads"), config.get("attention_head_dim")
        sizes: dict[str, Any] = {
            "hidden": heads * width if type(heads) is int and type(width) is int else None,
            "depth": config.get("num_layers"),
            "heads": heads,
            "patch": config.get("patch_size"),
            "caption_width": config.get("caption_channels"),
        }
        spec = ExpertSpec(**sizes)
        latents = _latents(config.get("in_channels"), config.get("sample_size"))
        with torch.device("meta"):
            expert = Expert(spec, latents)
        expect_same(config, config_of(expert.transformer))
    return spec, latents


def _router_shape(folder: Path) -> tuple[RouterSpec, int]:
    """The router's shape and its number of experts, from its config."""
    config = read_json(folder / layout.CONFIG)
    with at(folder / layout.CONFIG):
        named = ("hidden", "depth", "heads", "patch")
        sizes: dict[str, Any] = {name: config.get(name) for name in named}
        spec = RouterSpec(**sizes, caption_width=config.get("caption_width", 0))
        clusters = config.get("clusters")
        if type(clusters) is not int or not 1 <= clusters <= MOST_EXPERTS:
            raise BadContent(f"clusters is {clusters!r}, not a number of experts")
    return spec, clusters


def _common_shape(
    folder: Path, shapes: Mapping[int, tuple[ExpertSpec, LatentShape]]
) -> LatentShape:
    """The one shape of latents that all experts read."""
    found = {latents for _, latents in shapes.values()}
    if len(found) > 1:
        raise BadContent(f"the experts in {folder} read latents of different shapes: {found}")
    return found.pop()


def _latents(channels: object, side: object) -> LatentShape:
    if type(channels) is not int or type(side) is not int:
        raise BadContent("in_channels and sample_size are not numbers")
    if not (1 <= channels <= 1024 and 1 <= side <= 1024):
        raise BadContent(f"latents of {channels}x{side}x{side} are too large")
    return channels, side, side


def _objectives(mixture: Mapping[str, Any], clusters: int) -> list[str]:
    """What each expert predicts; flow matching where the index does not say."""
    told = mixture.get("objectives", [FLOW] * clusters)
    if not isinstance(told, list) or len(told) != clusters:
        raise BadContent(
            f"{layout.INDEX} does not name an objective for each of {clusters} experts"
        )
    return told


def _take(folder: Path, network: Published, target: Path) -> None:
    """Copy a network's weights as they are, and check the copy."""
    source = weights_in(folder)
    shutil.copyfile(source, target)
    with at(source):
        load_weights(target, expected_of(network))


def _name(folder: Path) -> str:
    """The name of the run in the folder's provenance, else the folder's own, as a run may have."""
    provenance = folder / layout.PROVENANCE
    told = read_json(provenance).get("run") if provenance.is_file() else None
    name = told.get("name") if isinstance(told, dict) else None
    name = name if isinstance(name, str) else folder.resolve().name
    return "".join(letter for letter in name if letter.isprintable())[:MOST_NAME] or "imported"
