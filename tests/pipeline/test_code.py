"""The modules in an exported folder draw what the ensemble draws, by themselves."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from diffusers import (
    DEISMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtTransformer2DModel,
    UniPCMultistepScheduler,
)

from paris_p2p.model.encoders.clip import build_tokenizer
from paris_p2p.model.integrators import FLOW
from paris_p2p.pipeline.code.text_encoder import END, START, Tokenizer
from paris_p2p.pipeline.writing import CODE
from paris_p2p.sampling.ensemble import Ensemble
from paris_p2p.sampling.request import SampleRequest
from tests.pipeline.folders import ensemble_of, export_to, load, mixed_run, reading_run
from tests.sampling.shelf import Shelf

PROMPTS = ("the red cat, \u201cnoto\u201d style", "")


def same_pictures(pipeline: Any, ensemble: Ensemble, request: SampleRequest, **asked: Any) -> None:
    """Fail unless both draw the same, to one level of a pixel and a thousandth of a latent."""
    prompts = list(request.prompts)
    latents = pipeline(prompts, request.steps, output_type="latent", seed=request.seed, **asked)
    assert torch.allclose(latents.images, ensemble.latents(request).latents, atol=1e-3)
    images = pipeline(prompts, request.steps, seed=request.seed, **asked).images
    for image, picture in zip(images, ensemble.sample(request), strict=True):
        levels = np.asarray(image, int) - np.asarray(picture.image, int)
        assert np.abs(levels).max() <= 1


@pytest.mark.parametrize(
    "objectives", [("flow", "ddpm-cosine"), ("ddpm-linear", "flow-logit-normal")]
)
def test_the_default_picture_is_the_ensembles(
    tmp_path: Path, shelf: Shelf, objectives: tuple[str, str]
) -> None:
    ensemble = ensemble_of(mixed_run(shelf, *objectives), shelf)
    export_to(tmp_path / "out", ensemble)
    same_pictures(load(tmp_path / "out"), ensemble, SampleRequest(PROMPTS, seed=4))


@pytest.mark.parametrize("strategy", ["once", "top-1", "top-2", "threshold", "full"])
@pytest.mark.parametrize("routing", ["shared", "own"])
def test_every_strategy_is_the_ensembles(
    tmp_path: Path, shelf: Shelf, strategy: str, routing: str
) -> None:
    run = reading_run(shelf, "flow", "ddpm-cosine")
    ensemble = ensemble_of(run, shelf, "reader")
    export_to(tmp_path / "out", ensemble)
    request = SampleRequest(PROMPTS, strategy=strategy, guidance_routing=routing, steps=4)
    asked = {"strategy": strategy, "guidance_routing": routing}
    same_pictures(load(tmp_path / "out"), ensemble, request, **asked)


def test_a_reading_router_chooses_once_and_guidance_may_be_off(
    tmp_path: Path, shelf: Shelf
) -> None:
    ensemble = ensemble_of(reading_run(shelf, "flow", "flow"), shelf, "reader")
    export_to(tmp_path / "out", ensemble)
    pipeline = load(tmp_path / "out")
    same_pictures(pipeline, ensemble, SampleRequest(PROMPTS, steps=3))
    request = SampleRequest(PROMPTS, steps=3, guidance=1.0, strategy="top-k", top_k=2)
    same_pictures(pipeline, ensemble, request, guidance_scale=1.0, top_k=2)


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("euler", FlowMatchEulerDiscreteScheduler()),
        ("unipc", UniPCMultistepScheduler(**FLOW)),
    ],
)
def test_another_scheduler_is_another_sampler(
    tmp_path: Path, shelf: Shelf, sampler: str, scheduler: Any
) -> None:
    ensemble = ensemble_of(mixed_run(shelf, "flow", "flow"), shelf)
    export_to(tmp_path / "out", ensemble)
    pipeline = load(tmp_path / "out")
    pipeline.scheduler = scheduler
    same_pictures(pipeline, ensemble, SampleRequest(PROMPTS, sampler=sampler, steps=5))
    pipeline.scheduler = DEISMultistepScheduler(**FLOW)
    assert pipeline("a cat", num_inference_steps=3).images[0].size == (16, 16)


def test_what_the_call_takes_and_gives(tmp_path: Path, shelf: Shelf) -> None:
    export_to(tmp_path / "out", ensemble_of(mixed_run(shelf, "flow", "flow"), shelf))
    pipeline = load(tmp_path / "out")
    two = pipeline("a cat", 2, num_images_per_prompt=2, seed=8, output_type="pt").images
    assert two.shape == (2, 3, 16, 16) and 0 <= two.min() <= two.max() <= 1
    generator = torch.Generator().manual_seed(9)
    (images,) = pipeline("a cat", 2, generator=generator, output_type="pt", return_dict=False)
    assert torch.allclose(images[0], two[1], atol=1e-5)
    with pytest.raises(ValueError, match="guidance_routing"):
        pipeline("a cat", guidance_routing="both")


def test_a_missing_expert_gets_no_share(tmp_path: Path, shelf: Shelf) -> None:
    run = mixed_run(shelf, "flow", "of-tomorrow")
    ensemble = ensemble_of(run, shelf)
    assert export_to(tmp_path / "out", ensemble) == [0]
    pipeline = load(tmp_path / "out")
    assert pipeline.expert_1 is None
    same_pictures(
        pipeline, ensemble, SampleRequest(PROMPTS, steps=3, strategy="full"), strategy="full"
    )


def test_an_expert_loads_alone_and_the_pipeline_saves_itself(tmp_path: Path, shelf: Shelf) -> None:
    ensemble = ensemble_of(mixed_run(shelf, "flow", "flow"), shelf)
    export_to(tmp_path / "out", ensemble)
    alone = PixArtTransformer2DModel.from_pretrained(tmp_path / "out", subfolder="expert_1")
    network = ensemble.checkpoints.network(1)
    state = network.core.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in alone.state_dict().items())
    load(tmp_path / "out").save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "router" / "diffusion_pytorch_model.safetensors").is_file()


TEXTS = [
    "",
    "the cat",
    "THE  Cat's\n42 h\u00e4user, \u732b \U0001f600!",
    "&amp;lt; caf\u00e9 \u201cquoted\u201d",
    "e\u0301 composed",
    "<start_of_text> in words <end_of_text>",
    "th" * 40,
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer_is_open_clips(text: str) -> None:
    for merges in (["t h", "th e</w>", "c a"], clip_merges()):
        theirs, ours = build_tokenizer(merges, 24), Tokenizer(merges)
        assert ours.encode(text) == theirs.encode(text)
        assert (ours.ids[START], ours.ids[END]) == (theirs.sot_token_id, theirs.eot_token_id)


def test_without_ftfy_quotes_are_plain_and_letters_composed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    merges = clip_merges()
    for text in TEXTS:
        assert Tokenizer(merges).encode(text) == build_tokenizer(merges, 24).encode(text)


def clip_merges() -> list[str]:
    """The first two thousand merges of CLIP's own tokenizer."""
    ranks = open_clip.get_tokenizer("ViT-B-32").bpe_ranks
    return [" ".join(pair) for pair in list(ranks)[:2000]]


@pytest.mark.parametrize("file", sorted(CODE.glob("[!_]*.py")), ids=lambda file: file.stem)
def test_the_modules_import_nothing_that_diffusers_does_not_install(file: Path) -> None:
    standard = {"__future__", "collections", "dataclasses", "functools", "html", "importlib"}
    standard |= {"inspect", "itertools", "math", "typing", "unicodedata"}
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        tops = {name.partition(".")[0] for name in names}
        assert tops <= standard | {"torch", "diffusers", "PIL", "regex"}, file


def test_a_long_prompt_is_cut_alike(tmp_path: Path, shelf: Shelf) -> None:
    ensemble = ensemble_of(mixed_run(shelf, "flow", "flow"), shelf)
    export_to(tmp_path / "out", ensemble)
    request = replace(SampleRequest(PROMPTS), prompts=("a red cat " * 90,), steps=2)
    same_pictures(load(tmp_path / "out"), ensemble, request)
