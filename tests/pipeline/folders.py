"""Exported folders of tiny runs, and folders as others lay them out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import safetensors.torch
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from torch import nn

from paris_p2p.model.encoders.clip import build_tokenizer
from paris_p2p.model.encoders.text_tower import merges_of, tower_config
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.encoders.transformers_clip import (
    to_transformers,
    tokenizer_files,
    transformers_config,
)
from paris_p2p.model.expert import Expert
from paris_p2p.model.router import build_router
from paris_p2p.records.run import ExpertSlot, ExpertSpec, RouterSpec, RunManifest
from paris_p2p.sampling.ensemble import Ensemble
from paris_p2p.sampling.exporting import export
from tests.peer.worlds import CREATOR
from tests.sampling.shelf import Shelf, make_tiny_run

MERGES = ["t h", "th e</w>", "c a", "ca t</w>"]
SPEC = ExpertSpec(hidden=32, depth=2, heads=2, patch=2, caption_width=16)
ROUTER = RouterSpec(hidden=32, depth=1, heads=2, patch=2)
LATENTS = (4, 8, 8)


def row(manifest: str) -> dict[str, Any]:
    return {"manifest": manifest, "author": "12D3KooWabc", "step": 3, "held_out_loss": 0.5}


def heads(router: str = "head--1") -> dict[str, list[dict[str, Any]]]:
    return {"-1": [row(router)], "0": [row("head-0")], "1": [row("head-1")]}


def mixed_run(shelf: Shelf, *objectives: str) -> RunManifest:
    """The tiny run with these objectives; of a name that would end Markdown and JSON."""
    run = make_tiny_run(shelf)
    slots = tuple(ExpertSlot(run.expert, objective) for objective in objectives)
    return replace(run, experts=slots, name='a "run" of `two`')


def reading_run(shelf: Shelf, *objectives: str) -> RunManifest:
    """The mixed run with a router that reads, saved as "reader"."""
    run = mixed_run(shelf, *objectives)
    run = replace(run, router=replace(run.router, caption_width=run.text_width))
    torch.manual_seed(3)
    router = build_router(run.router, (4, 4, 4), run.clusters)
    for parameter in router.parameters():
        nn.init.normal_(parameter, std=0.1)
    shelf.save("reader", router)
    return run


def ensemble_of(run: RunManifest, shelf: Shelf, router: str = "head--1") -> Ensemble:
    return Ensemble(run.seal(CREATOR), heads(router), shelf)


def export_to(folder: Path, ensemble: Ensemble) -> list[int]:
    return export(ensemble, folder, lambda part, parts: None)


def load(folder: Path) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)


def some_text_encoder(quick_gelu: bool = True) -> TextEncoder:
    """A CLIP's text tower of the smallest size, as a hub's is loaded."""
    torch.manual_seed(5)
    text = open_clip.CLIPTextCfg(context_length=12, vocab_size=518, width=16, heads=2, layers=2)
    vision = open_clip.CLIPVisionCfg(layers=1, width=16, head_width=8, patch_size=8, image_size=8)
    clip = open_clip.CLIP(8, vision, text, quick_gelu=quick_gelu).eval().requires_grad_(False)
    return TextEncoder(clip, build_tokenizer(MERGES, 12))


def some_vae() -> AutoencoderKL:
    torch.manual_seed(6)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        scaling_factor=0.25,
    )


def write_paris_folder(folder: Path, prefix: bool = True, experts: int = 2) -> None:
    """A folder laid out like the published repository, by diffusers and as transformers does.

    Transformers before version 5 puts `prefix` before a text tower's tensors.
    """
    torch.manual_seed(7)
    write_json(folder / "model_index.json", {"_class_name": "ParisPipeline"})
    for k in range(experts):
        expert = Expert(SPEC, LATENTS)
        for parameter in expert.parameters():
            nn.init.normal_(parameter, std=0.05)
        expert.transformer.save_pretrained(folder / f"expert_{k}")
    router = build_router(ROUTER, LATENTS, experts)
    write_tensors(folder / "router" / "model.safetensors", router.state_dict())
    shape = {"hidden": 32, "depth": 1, "heads": 2, "patch": 2}
    write_json(folder / "router" / "config.json", {**shape, "clusters": experts})
    some_vae().save_pretrained(folder / "vae")
    encoder = some_text_encoder()
    tensors = to_transformers(encoder.state_dict(), layers=2)
    if not prefix:
        tensors = {name.removeprefix("text_model."): value for name, value in tensors.items()}
    write_tensors(folder / "text_encoder" / "model.safetensors", tensors)
    config = transformers_config(tower_config(encoder), encoder.vocabulary)
    write_json(folder / "text_encoder" / "config.json", config)
    for name, told in tokenizer_files(merges_of(encoder), 12).items():
        path = folder / "tokenizer" / name
        if isinstance(told, str):
            path.write_text(told)
        else:
            write_json(path, told)
