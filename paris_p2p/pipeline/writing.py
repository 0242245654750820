"""Writes a run's networks as a folder that `DiffusionPipeline.from_pretrained` loads."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

import paris_p2p.pipeline.code
from paris_p2p.files import write_atomically
from paris_p2p.model.encoders.autoencoder import Autoencoder, SmallAutoencoder
from paris_p2p.model.encoders.autoencoder_kl import KLAutoencoder
from paris_p2p.model.encoders.text_tower import merges_of, tower_config
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.encoders.transformers_clip import (
    to_transformers,
    tokenizer_files,
    transformers_config,
)
from paris_p2p.model.expert import Expert
from paris_p2p.model.integrators import FLOW
from paris_p2p.model.weights import serialised
from paris_p2p.pipeline import layout
from paris_p2p.pipeline.card import Head, card_of, provenance_of
from paris_p2p.pipeline.layout import expert_folder, module_name
from paris_p2p.records.run import ROUTER, RunManifest

CODE: Final = Path(paris_p2p.pipeline.code.__file__).parent
MISSING: Final = (None, None)
"""A component that the folder does not have."""

Component = tuple[str | None, str | None]
"""A component's module and class, as model_index.json has them."""


@dataclass(frozen=True)
class Moment:
    """A run as it is now.

    `files` and `heads` have each slot's checkpoint, and the head that names it. An expert that
    nobody has is in neither.
    """

    run: RunManifest
    run_id: bytes
    files: Mapping[int, Path]
    heads: Mapping[int, Head]
    text_encoder: TextEncoder
    autoencoder: Autoencoder


def write_folder(folder: Path, moment: Moment, on_part: Callable[[int, int], None]) -> None:
    """Fill an empty `folder`. `on_part` gets (parts written, parts in all)."""
    experts = range(moment.run.clusters)
    parts = len(experts) + 4
    components = {layout.SCHEDULER: _write_scheduler(folder / layout.SCHEDULER)}
    on_part(1, parts)
    components[layout.VAE] = _write_vae(folder / layout.VAE, moment.autoencoder)
    on_part(2, parts)
    components |= _write_text_encoder(folder, moment)
    on_part(3, parts)
    components[layout.ROUTER] = _write_router(folder / layout.ROUTER, moment)
    for expert in experts:
        on_part(4 + expert, parts)
        components[expert_folder(expert)] = _write_expert(folder, moment, expert)
    pipeline = _write_module(folder, "mixture_pipeline", moment)
    index = {
        "_class_name": [pipeline, "MixturePipeline"],
        "_diffusers_version": diffusers.__version__,
        **components,
        layout.MIXTURE: _mixture(moment),
    }
    _write_json(folder / layout.INDEX, index)
    _write_json(folder / layout.PROVENANCE, provenance_of(moment.run, moment.run_id, moment.heads))
    _write(folder / layout.CARD, card_of(moment.run, moment.run_id, moment.heads).encode())
    on_part(parts, parts)


def _mixture(moment: Moment) -> dict[str, Any]:
    """What the pipeline knows beside its components."""
    objectives = [moment.run.objective(expert) for expert in range(moment.run.clusters)]
    if not isinstance(moment.autoencoder, SmallAutoencoder):
        return {"objectives": objectives}
    latents = {
        "patch": moment.autoencoder.config.patch,
        "mean": moment.autoencoder.shift.tolist(),
        "std": moment.autoencoder.scale.tolist(),
    }
    return {"objectives": objectives, "latents": latents}


def _write_scheduler(folder: Path) -> Component:
    """The scheduler of the default sampler."""
    scheduler = DPMSolverMultistepScheduler(**FLOW)
    _write_json(folder / "scheduler_config.json", config_of(scheduler))
    return "diffusers", type(scheduler).__name__


def _write_vae(folder: Path, autoencoder: Autoencoder) -> Component:
    assert isinstance(autoencoder, SmallAutoencoder | KLAutoencoder)
    config = config_of(autoencoder.body)
    if isinstance(autoencoder, KLAutoencoder):
        config |= {"scaling_factor": autoencoder.scaling, "sample_size": autoencoder.image_px}
    _write_json(folder / layout.CONFIG, config)
    _write_tensors(folder / layout.DIFFUSERS_WEIGHTS, autoencoder.body.state_dict())
    return "diffusers", type(autoencoder.body).__name__


def _write_text_encoder(folder: Path, moment: Moment) -> dict[str, Component]:
    """A hub's encoder in the form of transformers; a run's own with its module."""
    encoder, place = moment.text_encoder, folder / layout.TEXT_ENCODER
    config, merges = tower_config(encoder), merges_of(encoder)
    if moment.run.text_encoder.kind == "hub":
        tensors = to_transformers(encoder.state_dict(), config.layers)
        _write_json(place / layout.CONFIG, transformers_config(config, encoder.vocabulary))
        _write_tensors(place / layout.TRANSFORMERS_WEIGHTS, tensors)
        for name, told in tokenizer_files(merges, config.context_length).items():
            text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
            _write(folder / layout.TOKENIZER / name, text.encode())
        return {
            layout.TEXT_ENCODER: ("transformers", "CLIPTextModel"),
            layout.TOKENIZER: ("transformers", "CLIPTokenizer"),
        }
    named = {"_class_name": "TextEncoder", **asdict(config), "merges": merges}
    _write_json(place / layout.CONFIG, named)
    _write_tensors(place / layout.DIFFUSERS_WEIGHTS, encoder.state_dict())
    module = _write_module(place, "text_encoder", moment)
    return {layout.TEXT_ENCODER: (module, "TextEncoder"), layout.TOKENIZER: MISSING}


def _write_router(folder: Path, moment: Moment) -> Component:
    channels, side, _ = moment.run.latent_shape
    shape = {"clusters": moment.run.clusters, "channels": channels, "side": side}
    config = {"_class_name": "Router", **shape, **asdict(moment.run.router)}
    _write_json(folder / layout.CONFIG, config)
    shutil.copyfile(moment.files[ROUTER], folder / layout.DIFFUSERS_WEIGHTS)
    return _write_module(folder, "router", moment), "Router"


def _write_expert(folder: Path, moment: Moment, expert: int) -> Component:
    """An expert's checkpoint as it was published: its tensors have diffusers' names."""
    if expert not in moment.files:
        return MISSING
    place = folder / expert_folder(expert)
    channels, height, width = moment.run.latent_shape
    with torch.device("meta"):
        network = Expert(moment.run.expert_spec(expert), (channels, height, width))
    _write_json(place / layout.CONFIG, config_of(network.transformer))
    shutil.copyfile(moment.files[expert], place / layout.DIFFUSERS_WEIGHTS)
    return "diffusers", type(network.transformer).__name__


def config_of(part: Any) -> dict[str, Any]:
    """The config of one of diffusers' models or schedulers, as its file has it."""
    known = inspect.signature(type(part).__init__).parameters
    own = {name: value for name, value in part.config.items() if name in known}
    named = {"_class_name": type(part).__name__, "_diffusers_version": diffusers.__version__}
    return named | own


def _write_module(folder: Path, base: str, moment: Moment) -> str:
    """A module of `code`, with the number of experts; returns its name there."""
    source = (CODE / f"{base}.py").read_text()
    name = module_name(base, moment.run_id)
    source = source.replace("EXPERTS = 0\n", f"EXPERTS = {moment.run.clusters}\n")
    _write(folder / f"{name}.py", source.encode())
    return name


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    state = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    _write(path, serialised(state, {"format": "pt"}))


def _write_json(path: Path, value: object) -> None:
    _write(path, f"{json.dumps(value, indent=2)}\n".encode())


def _write(path: Path, data: bytes | Iterable[bytes | memoryview]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data, mode=0o644, synced=False)
