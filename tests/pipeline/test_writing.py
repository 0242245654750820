"""What is in an exported folder, and that it appears complete or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from paris_p2p.errors import DiskFull, Interrupted, NotAvailable
from paris_p2p.model.encoders.autoencoder_kl import KLAutoencoder
from paris_p2p.model.encoders.transformers_clip import merges_in, to_transformers
from paris_p2p.pipeline import writing
from paris_p2p.pipeline.layout import TRANSFORMERS_WEIGHTS
from paris_p2p.pipeline.writing import Moment, write_folder
from paris_p2p.records.run import ROUTER, Artefact
from paris_p2p.sampling import ensemble as sampling_ensemble
from paris_p2p.sampling.ensemble import Ensemble
from paris_p2p.sampling.exporting import export
from tests.peer.worlds import CREATOR
from tests.pipeline.folders import (
    MERGES,
    ensemble_of,
    export_to,
    heads,
    load,
    mixed_run,
    row,
    some_text_encoder,
    some_vae,
)
from tests.sampling.shelf import Shelf


def test_the_folder_says_where_it_comes_from(tmp_path: Path, shelf: Shelf) -> None:
    run = mixed_run(shelf, "flow", "ddpm-cosine")
    ensemble = ensemble_of(run, shelf)
    export_to(tmp_path / "out", ensemble)
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    digits = ensemble.run_id.hex()[:12]
    assert index["_class_name"] == [f"mixture_pipeline_{digits}", "MixturePipeline"]
    assert index["mixture"]["objectives"] == ["flow", "ddpm-cosine"]
    told = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert told["run"]["id"] == ensemble.run_id.hex()
    assert told["heads"]["expert 1"]["manifest"] == "head-1"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| expert 0 | `12D3KooWabc` | 3 | 0.5000 |" in card
    assert "# `a \"run\" of 'two'`" in card
    assert 'model_name: "a \\"run\\" of `two` (paris-p2p)"' in card


def test_checkpoints_are_copied_as_they_were_published(tmp_path: Path, shelf: Shelf) -> None:
    export_to(tmp_path / "out", ensemble_of(mixed_run(shelf, "flow", "flow"), shelf))
    for folder, content in (("expert_0", "head-0"), ("router", "head--1")):
        copied = tmp_path / "out" / folder / "diffusion_pytorch_model.safetensors"
        assert copied.read_bytes() == shelf.fetch(content).read_bytes()


def test_a_worthless_head_is_condemned_and_the_next_one_exported(
    tmp_path: Path, shelf: Shelf
) -> None:
    run = mixed_run(shelf, "flow", "flow")
    candidates = heads() | {
        "0": [row("poison"), row("explosive-0"), row("head-0")],
        "-1": [row("explosive--1"), row("head--1")],
    }
    ensemble = Ensemble(run.seal(CREATOR), candidates, shelf)
    assert export_to(tmp_path / "out", ensemble) == [0, 1]
    assert set(shelf.condemned) == {"poison", "explosive-0", "explosive--1"}
    told = json.loads((tmp_path / "out" / "provenance.json").read_text())["heads"]
    assert (told["expert 0"]["manifest"], told["router"]["manifest"]) == ("head-0", "head--1")


def test_an_expert_that_nobody_has_is_left_out_with_a_warning(
    tmp_path: Path, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    run = mixed_run(shelf, "flow", "flow")
    ensemble = Ensemble(run.seal(CREATOR), heads() | {"0": []}, shelf)
    assert export_to(tmp_path / "out", ensemble) == [1]
    assert "nobody has a usable checkpoint of expert 0" in caplog.text
    assert "| expert 0 | missing: nobody had it | | |" in (tmp_path / "out/README.md").read_text()
    none = Ensemble(run.seal(CREATOR), heads() | {"0": [], "1": []}, shelf)
    with pytest.raises(NotAvailable, match="no expert of this run"):
        export_to(tmp_path / "none", none)
    assert not (tmp_path / "none").exists()


def test_an_export_that_is_stopped_leaves_nothing(tmp_path: Path, shelf: Shelf) -> None:
    ensemble = ensemble_of(mixed_run(shelf, "flow", "flow"), shelf)
    seen: list[list[Path]] = []

    def on_part(part: int, parts: int) -> None:
        seen.append(list((tmp_path / "in").glob("*")))
        if part == parts - 1 and seen[-1]:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        export(ensemble, tmp_path / "in" / "out", on_part)
    (aside,) = seen[-1]
    assert aside.name.startswith(".out.")
    assert list((tmp_path / "in").iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble = ensemble_of(mixed_run(shelf, "flow", "flow"), shelf)

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.shutil, "copyfile", full)
    with pytest.raises(DiskFull, match="no room left"):
        export_to(tmp_path / "in" / "out", ensemble)
    assert list((tmp_path / "in").iterdir()) == []


def hub_run_exported(shelf: Shelf, folder: Path) -> Moment:
    """A run of hub encoders, by stand-ins of these, exported to `folder`."""
    hub = Artefact("hub", "owner/encoder")
    run = replace(mixed_run(shelf, "flow", "flow"), text_encoder=hub, autoencoder=hub)
    files = {slot: shelf.fetch(f"head-{slot}") for slot in run.slots()}
    vae = KLAutoencoder(some_vae().eval(), 0.18215, 16)
    moment = Moment(
        run, bytes(32), files, {slot: row("x") for slot in files}, some_text_encoder(), vae
    )
    write_folder(folder, moment, lambda part, parts: None)
    return moment


def test_encoders_of_a_hub_are_written_as_the_librarys_own(tmp_path: Path, shelf: Shelf) -> None:
    moment = hub_run_exported(shelf, tmp_path)
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae")
    latents = torch.randn(1, 4, 4, 4)
    with torch.inference_mode():
        expected = moment.autoencoder.decode(latents)
        assert torch.allclose(vae.decode(latents / vae.config.scaling_factor).sample, expected)
    assert (vae.config.scaling_factor, vae.config.sample_size) == (0.18215, 16)

    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert index["tokenizer"] == ["transformers", "CLIPTokenizer"]
    config = json.loads((tmp_path / "text_encoder" / "config.json").read_text())
    assert (config["hidden_act"], config["eos_token_id"]) == ("quick_gelu", 517)
    vocabulary = json.loads((tmp_path / "tokenizer" / "vocab.json").read_text())
    assert merges_in(vocabulary, (tmp_path / "tokenizer" / "merges.txt").read_text()) == MERGES
    assert vocabulary["<|endoftext|>"] == 517
    assert (tmp_path / "text_encoder" / TRANSFORMERS_WEIGHTS).is_file()


class TransformersTower(torch.nn.Module):
    """What transformers' CLIPTextModel computes of the tensors under its names."""

    def __init__(self, tensors: dict[str, torch.Tensor], layers: int, heads: int) -> None:
        super().__init__()
        self.tensors, self.layers, self.heads = tensors, layers, heads
        self.dtype = torch.float32

    def forward(self, ids: torch.Tensor) -> Any:
        part = self.tensors.__getitem__
        norm = torch.nn.functional.layer_norm
        linear = torch.nn.functional.linear
        x = part("text_model.embeddings.token_embedding.weight")[ids]
        x = x + part("text_model.embeddings.position_embedding.weight")
        width = x.shape[-1]

        def normed(x: torch.Tensor, name: str) -> torch.Tensor:
            return norm(x, (width,), part(f"{name}.weight"), part(f"{name}.bias"))

        def layer(x: torch.Tensor, name: str) -> torch.Tensor:
            return linear(x, part(f"{name}.weight"), part(f"{name}.bias"))

        for number in range(self.layers):
            name = f"text_model.encoder.layers.{number}"
            y = normed(x, f"{name}.layer_norm1")
            q, k, v = (
                layer(y, f"{name}.self_attn.{kind}_proj")
                .unflatten(-1, (self.heads, -1))
                .transpose(1, 2)
                for kind in "qkv"
            )
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + layer(y.transpose(1, 2).flatten(2), f"{name}.self_attn.out_proj")
            y = layer(normed(x, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
            x = x + layer(y * torch.sigmoid(1.702 * y), f"{name}.mlp.fc2")
        states = normed(x, "text_model.final_layer_norm")
        return type("Output", (), {"last_hidden_state": states})


def test_a_text_tower_under_transformers_names_reads_alike() -> None:
    encoder = some_text_encoder()
    tower = TransformersTower(to_transformers(encoder.state_dict(), 2), layers=2, heads=2)
    ids = encoder.tokenize(["the cat", ""])
    assert torch.allclose(tower(ids).last_hidden_state, encoder.encode(ids), atol=1e-5)


def test_the_default_encoders_are_those_of_the_run(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Artefact("hub", "owner/encoder")
    vae = KLAutoencoder(some_vae().eval(), 0.18215, 8)
    monkeypatch.setattr(sampling_ensemble, "load_hub_autoencoder", lambda name: vae)
    run = replace(mixed_run(shelf, "flow", "flow"), autoencoder=hub)
    ensemble = ensemble_of(run, shelf)
    export_to(tmp_path / "out", ensemble)
    pipeline = load(tmp_path / "out")
    latents = torch.randn(1, 4, 4, 4)
    with torch.inference_mode():
        expected = ensemble.autoencoder.decode(latents).clamp(-1, 1)
        assert torch.allclose(pipeline._decode(latents), expected, atol=1e-5)
    assert ensemble.checkpoints.file(ROUTER) == shelf.fetch("head--1")
