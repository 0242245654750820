"""Folders become the contents of a run; what does not fit is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.stored import load_stored_autoencoder, load_stored_text_encoder
from paris_p2p.model.encoders.text_tower import merges_of, tower_config
from paris_p2p.pipeline.layout import AUTOENCODER, TEXT_TOWER, checkpoint_file
from paris_p2p.pipeline.reading import read_folder
from paris_p2p.records.run import ROUTER as ROUTER_SLOT
from paris_p2p.records.run import Artefact, ExpertSlot, RouterSpec, RunManifest
from paris_p2p.sampling.ensemble import Ensemble
from paris_p2p.sampling.request import SampleRequest
from tests.peer.worlds import CREATOR, make_run
from tests.pipeline.folders import (
    MERGES,
    ensemble_of,
    export_to,
    heads,
    reading_run,
    some_text_encoder,
    some_vae,
    write_paris_folder,
)
from tests.pipeline.test_writing import hub_run_exported
from tests.sampling.shelf import Shelf


def read(folder: Path, out: Path) -> dict[str, Any]:
    out.mkdir()
    return read_folder(folder, out, lambda part, parts: None)


def run_from(told: dict[str, Any]) -> RunManifest:
    """The run that a peer would make of what was read, its contents under their files' names."""
    experts = tuple(ExpertSlot.from_body(expert) for expert in told["experts"])
    return replace(
        RunManifest.unseal(make_run()),
        clusters=len(experts),
        shards=(),
        expert=experts[0].shape,
        experts=experts,
        router=RouterSpec.from_body(told["router"]),
        latent_shape=tuple(told["latent_shape"]),
        autoencoder=Artefact("content", "a" * 64),
        text_encoder=Artefact("content", "b" * 64),
        image_encoder=None,
        text_context=told["text_context"],
        text_width=told["text_width"],
    )


def shelf_of(out: Path, experts: int) -> Shelf:
    """A shelf with what was read."""
    names = {"a" * 64: AUTOENCODER, "b" * 64: TEXT_TOWER}
    names |= {f"head-{slot}": checkpoint_file(slot) for slot in (*range(experts), ROUTER_SLOT)}
    for name, file in names.items():
        shutil.copyfile(out / file, out / name)
    return Shelf(out)


def test_what_was_exported_draws_the_same_picture_after_an_import(
    tmp_path: Path, shelf: Shelf
) -> None:
    before = ensemble_of(reading_run(shelf, "flow", "ddpm-cosine"), shelf, "reader")
    export_to(tmp_path / "out", before)
    told = read(tmp_path / "out", tmp_path / "in")
    assert told["name"] == 'a "run" of `two`'
    assert told["present"] == [0, 1]
    after = Ensemble(run_from(told).seal(CREATOR), heads(), shelf_of(tmp_path / "in", 2))
    request = SampleRequest(("the cat",), steps=4, seed=3)
    assert after.sample(request)[0].image.tobytes() == before.sample(request)[0].image.tobytes()


def test_the_contents_of_a_folder_are_the_same_every_time(tmp_path: Path, shelf: Shelf) -> None:
    export_to(tmp_path / "out", ensemble_of(reading_run(shelf, "flow", "flow"), shelf, "reader"))
    read(tmp_path / "out", tmp_path / "one")
    read(tmp_path / "out", tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize("prefix", [True, False])
def test_the_layout_of_the_published_repository_is_read_and_draws(
    tmp_path: Path, prefix: bool
) -> None:
    write_paris_folder(tmp_path / "paris", prefix)
    told = read(tmp_path / "paris", tmp_path / "in")
    assert told["name"] == "paris"
    assert [expert["objective"] for expert in told["experts"]] == ["flow", "flow"]
    ensemble = Ensemble(run_from(told).seal(CREATOR), heads(), shelf_of(tmp_path / "in", 2))
    (picture,) = ensemble.sample(SampleRequest(("the cat",), steps=2))
    assert picture.image.size == (16, 16) and np.asarray(picture.image).std() > 0

    ids = ensemble.text_encoder.tokenize(["the cat", ""])
    expected = some_text_encoder()
    assert torch.equal(ids, expected.tokenize(["the cat", ""]))
    assert torch.allclose(ensemble.text_encoder.encode(ids), expected.encode(ids), atol=1e-6)
    vae, latents = some_vae().eval(), torch.randn(1, 4, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(
            ensemble.autoencoder.decode(latents), vae.decode(latents / 0.25).sample, atol=1e-5
        )


def test_what_was_exported_with_a_hubs_encoders_is_read(tmp_path: Path, shelf: Shelf) -> None:
    moment = hub_run_exported(shelf, tmp_path / "out")
    with pytest.raises(BadContent, match="reads tokens of width 32, and text_encoder/ gives 16"):
        read(tmp_path / "out", tmp_path / "in")
    text = load_stored_text_encoder(tmp_path / "in" / TEXT_TOWER)
    assert tower_config(text) == tower_config(moment.text_encoder)
    vae = load_stored_autoencoder(tmp_path / "in" / AUTOENCODER)
    latents = torch.randn(1, 4, 4, 4)
    with torch.inference_mode():
        assert torch.allclose(vae.decode(latents), moment.autoencoder.decode(latents), atol=1e-6)


def test_an_autoencoder_under_diffusers_old_names_is_read(tmp_path: Path) -> None:
    write_paris_folder(tmp_path / "paris")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        renamed = {}
        for name, tensor in tensors.items():
            for new, before in old.items():
                name = name.replace(f".{new}.", f".{before}.")
            renamed[name] = tensor
        assert renamed.keys() != tensors.keys()
        return renamed

    change(tmp_path / "paris" / "vae" / "diffusion_pytorch_model.safetensors", rename)
    read(tmp_path / "paris", tmp_path / "in")


@pytest.mark.parametrize("as_pairs", [True, False])
def test_a_tokenizer_of_one_file_is_read(tmp_path: Path, as_pairs: bool) -> None:
    write_paris_folder(tmp_path / "paris")
    folder = tmp_path / "paris" / "tokenizer"
    vocabulary = json.loads((folder / "vocab.json").read_text())
    for file in folder.iterdir():
        file.unlink()
    merges: list[Any] = [merge.split() for merge in MERGES] if as_pairs else MERGES
    model = {"vocab": vocabulary, "merges": merges}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model}))
    read(tmp_path / "paris", tmp_path / "in")
    text = load_stored_text_encoder(tmp_path / "in" / TEXT_TOWER)
    assert merges_of(text) == MERGES
    for wrong in ({}, {"model": {"merges": 5}}, {"model": {**model, "merges": merges[1:]}}):
        (folder / "tokenizer.json").write_text(json.dumps(wrong))
        with pytest.raises(BadContent, match=r"tokenizer\.json: "):
            read_folder(tmp_path / "paris", tmp_path / "in", lambda part, parts: None)


def test_an_expert_that_is_not_there_is_missing_in_the_run(tmp_path: Path) -> None:
    write_paris_folder(tmp_path / "paris", experts=3)
    shutil.rmtree(tmp_path / "paris" / "expert_1")
    told = read(tmp_path / "paris", tmp_path / "in")
    assert told["present"] == [0, 2]
    assert len(told["experts"]) == 3


def change(path: Path, how: Any) -> None:
    tensors = how(safetensors.torch.load_file(path))
    safetensors.torch.save_file(tensors, path)


def configure(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


EXPERT = "expert_1/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("file", "how", "words"),
    [
        (EXPERT, lambda t: t | {"proj_out.bias": torch.zeros(7)}, "tensor proj_out.bias must have"),
        (EXPERT, lambda t: t | {"surprise": torch.zeros(1)}, "the first is surprise"),
        (EXPERT, lambda t: t | {"proj_out.bias": torch.full((16,), torch.nan)}, "not finite"),
        (
            "router/model.safetensors",
            lambda t: {k: v for k, v in t.items() if k != "head.bias"},
            "the first is head.bias",
        ),
        (
            "vae/diffusion_pytorch_model.safetensors",
            lambda t: t | {"decoder.conv_in.bias": torch.zeros(9)},
            "tensor decoder.conv_in.bias must have",
        ),
        (
            "text_encoder/model.safetensors",
            lambda t: t | {"text_model.final_layer_norm.bias": torch.zeros(9)},
            "tensor text_model.final_layer_norm.bias must have",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_with_its_file(
    tmp_path: Path, file: str, how: Any, words: str
) -> None:
    write_paris_folder(tmp_path / "paris")
    change(tmp_path / "paris" / file, how)
    with pytest.raises(BadContent, match=words) as caught:
        read(tmp_path / "paris", tmp_path / "in")
    assert str(tmp_path / "paris" / file) in caught.value.message


@pytest.mark.parametrize(
    ("file", "settings", "words"),
    [
        ("expert_0/config.json", {"num_layers": 1}, "tensors are unknown, the first is"),
        ("expert_0/config.json", {"num_layers": 10**9}, "depth: must be an integer"),
        ("expert_0/config.json", {"attention_head_dim": "x"}, "hidden: must be an integer"),
        ("expert_0/config.json", {"use_additional_conditions": True}, "use_additional_conditions"),
        ("expert_0/config.json", {"out_channels": 8}, "out_channels is 8, and only 4 is read"),
        ("expert_0/config.json", {"sample_size": None}, "sample_size are not numbers"),
        ("expert_0/config.json", {"sample_size": 4}, "latents of different shapes"),
        ("expert_0/config.json", {"attention_head_dim": 15}, "30 is not a multiple of 4"),
        ("router/config.json", {"hidden": 30}, "30 is not a multiple of 4"),
        ("router/config.json", {"clusters": 1}, "and the router has 1"),
        ("router/config.json", {"heads": None}, "heads: must be an integer"),
        ("vae/config.json", {"_class_name": "VQModel"}, "holds 'VQModel'"),
        ("vae/config.json", {"act_fn": "relu"}, "act_fn is 'relu'"),
        ("vae/config.json", {"block_out_channels": [8] * 40}, "block_out_channels is not a list"),
        ("vae/config.json", {"latent_channels": 8}, "must have shape"),
        ("text_encoder/config.json", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("text_encoder/config.json", {"num_attention_heads": 3}, "divide into 3 heads"),
        ("tokenizer/vocab.json", {"the</w>": 1}, "ids do not follow from the merges"),
        ("model_index.json", {"mixture": {"objectives": ["flow"]}}, "an objective for each of 2"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(
    tmp_path: Path, file: str, settings: dict[str, Any], words: str
) -> None:
    write_paris_folder(tmp_path / "paris")
    configure(tmp_path / "paris" / file, **settings)
    with pytest.raises(BadContent, match=words):
        read(tmp_path / "paris", tmp_path / "in")


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        ({"patch": 0}, "patch is not a number from 1 to 16"),
        ({"patch": "2"}, "patch is not a number from 1 to 16"),
        ({"patch": 2}, "in_channels is 3, and only 12 is read"),
        ({"mean": [0.0]}, "not 4 means and deviations"),
        ({"mean": [1e9] * 4}, "not a number below 10,000"),
        ({"std": [0.0] * 4}, "scale is not positive"),
    ],
)
def test_latents_that_do_not_fit_the_autoencoder_are_named(
    tmp_path: Path, shelf: Shelf, latents: dict[str, Any], words: str
) -> None:
    export_to(tmp_path / "out", ensemble_of(reading_run(shelf, "flow", "flow"), shelf, "reader"))
    index = tmp_path / "out" / "model_index.json"
    mixture = json.loads(index.read_text())["mixture"]
    config = tmp_path / "out" / "vae" / "config.json"
    if latents == {"patch": 2}:
        configure(config, in_channels=3)
    configure(index, mixture={**mixture, "latents": {**mixture["latents"], **latents}})
    with pytest.raises(BadContent, match=words):
        read(tmp_path / "out", tmp_path / "in")


def test_pickles_are_refused_by_name(tmp_path: Path) -> None:
    write_paris_folder(tmp_path / "paris")
    weights = tmp_path / "paris" / EXPERT
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(BadContent, match=r"diffusion_pytorch_model\.bin is not read: .* code"):
        read(tmp_path / "paris", tmp_path / "in")


@pytest.mark.parametrize("missing", ["model_index.json", "vae/config.json", "tokenizer/merges.txt"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    write_paris_folder(tmp_path / "paris")
    (tmp_path / "paris" / missing).unlink()
    with pytest.raises(BadContent, match=f"there is no .*{missing}"):
        read(tmp_path / "paris", tmp_path / "in")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff", "cannot be read as text"),
        (b"not json", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b" " * (9 << 20), "is larger than"),
    ],
)
def test_files_that_are_no_json_are_said(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / "paris").mkdir()
    (tmp_path / "paris" / "model_index.json").write_bytes(text)
    with pytest.raises(BadContent, match=words):
        read(tmp_path / "paris", tmp_path / "in")


def test_a_folder_of_something_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "paris").mkdir()
    (tmp_path / "paris" / "model_index.json").write_text("{}")
    with pytest.raises(BadContent, match="has no folder expert_0"):
        read(tmp_path / "paris", tmp_path / "in")


def test_names_that_a_run_cannot_have_are_made_fit(tmp_path: Path) -> None:
    write_paris_folder(tmp_path / "paris")
    provenance = tmp_path / "paris" / "provenance.json"
    for name, fit in (("a\nb" * 40, "ab" * 32), ("\n", "imported"), (5, "paris")):
        provenance.write_text(json.dumps({"run": {"name": name}}))
        assert read(tmp_path / "paris", tmp_path / f"in-{fit}")["name"] == fit


def test_no_code_of_the_folder_is_run(tmp_path: Path) -> None:
    write_paris_folder(tmp_path / "paris")
    for module in ("model_index.py", "router/router.py", "conftest.py", "json.py"):
        (tmp_path / "paris" / module).write_text("raise SystemExit('a stranger ran')")
    read(tmp_path / "paris", tmp_path / "in")
