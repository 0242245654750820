"""Encoders of published form as contents of a run: the same network again, or a refusal."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.autoencoder_kl import (
    KLConfig,
    empty_autoencoder_kl,
    load_autoencoder_kl,
    save_autoencoder_kl,
)
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.encoders.stored import load_stored_autoencoder, load_stored_text_encoder
from paris_p2p.model.encoders.text_tower import (
    TowerConfig,
    load_text_tower,
    merges_of,
    save_text_tower,
    tower_config,
)
from paris_p2p.model.encoders.transformers_clip import (
    from_transformers,
    to_transformers,
    tower_config_in,
    transformers_config,
)

from .small import CLIP, MERGES, rewritten

SIZES = KLConfig(
    image_px=16,
    scaling=0.5,
    block_out_channels=(8, 8),
    layers_per_block=1,
    latent_channels=4,
    norm_num_groups=4,
)


@pytest.fixture
def tower(tmp_path: Path, clip: Path) -> Path:
    """The text tower of the small CLIP, alone."""
    encoder = load_text_encoder(clip)
    path = tmp_path / "tower.safetensors"
    save_text_tower(path, encoder.state_dict(), tower_config(encoder), merges_of(encoder))
    return path


@pytest.fixture
def kl(tmp_path: Path) -> Path:
    body = empty_autoencoder_kl(SIZES).body.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(tensor.shape, generator=generator) / 8
        for name, tensor in body.state_dict().items()
    }
    save_autoencoder_kl(tmp_path / "kl.safetensors", tensors, SIZES)
    return tmp_path / "kl.safetensors"


def test_a_tower_alone_reads_as_in_its_clip(tower: Path, clip: Path) -> None:
    whole, alone = load_text_encoder(clip), load_stored_text_encoder(tower)
    ids = whole.tokenize(["cat dog", "", "dog " * 20])
    assert torch.equal(alone.tokenize(["cat dog", "", "dog " * 20]), ids)
    assert torch.equal(alone.encode(ids), whole.encode(ids))
    assert torch.equal(alone.mask(ids), whole.mask(ids))
    heads = CLIP.text_width // CLIP.head_width
    assert tower_config(alone) == TowerConfig(CLIP.text_width, CLIP.text_layers, heads, 8)
    assert merges_of(alone) == MERGES


def test_every_form_is_told_by_its_file(
    tower: Path, kl: Path, clip: Path, autoencoder: Path
) -> None:
    assert load_stored_text_encoder(clip).width == CLIP.text_width
    assert load_stored_autoencoder(autoencoder).latent_shape == (4, 4, 4)
    model = load_stored_autoencoder(kl)
    assert model.latent_shape == (4, 8, 8)
    images = model.decode(torch.zeros(1, 4, 8, 8))
    assert images.shape == (1, 3, 16, 16) and images.isfinite().all()
    assert model.encode(images).shape == (1, 4, 8, 8)
    for other in (kl, autoencoder):
        with pytest.raises(BadContent, match="format"):
            load_stored_text_encoder(other)
    for other in (tower, clip):
        with pytest.raises(BadContent, match="format"):
            load_stored_autoencoder(other)


def test_the_same_tower_is_the_same_file_every_time(tmp_path: Path, tower: Path) -> None:
    encoder = load_text_tower(tower)
    for _ in range(5):
        again = tmp_path / "again.safetensors"
        save_text_tower(again, encoder.state_dict(), tower_config(encoder), MERGES)
        assert again.read_bytes() == tower.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 10**9},
        {"layers": 0},
        {"heads": 5},
        {"context_length": True},
        {"quick_gelu": 1},
        {"surplus": 1},
    ],
)
def test_a_tower_of_absurd_sizes_is_refused(tower: Path, changes: dict[str, Any]) -> None:
    config = {**asdict(tower_config(load_text_tower(tower))), **changes}
    with pytest.raises(BadContent):
        load_text_tower(rewritten(tower, {"config": json.dumps(config)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"image_px": 10**9},
        {"image_px": 9},
        {"scaling": float("nan")},
        {"scaling": 1},
        {"block_out_channels": []},
        {"block_out_channels": [8] * 9},
        {"block_out_channels": [9]},
        {"block_out_channels": 8},
        {"layers_per_block": 10**6},
        {"latent_channels": "4"},
        {"norm_num_groups": 0},
    ],
)
def test_an_autoencoder_of_absurd_sizes_is_refused(kl: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadContent):
        config = json.dumps({**asdict(SIZES), **changes})
        load_autoencoder_kl(rewritten(kl, {"config": config}))


def test_merges_and_tensors_of_another_tower_are_refused(tower: Path) -> None:
    with pytest.raises(BadContent, match="must have shape"):
        load_text_tower(rewritten(tower, {"merges": "c a"}))
    with pytest.raises(BadContent, match="does not merge"):
        load_text_tower(rewritten(tower, {"merges": "ca t"}))
    with pytest.raises(BadContent, match=r"ln_final\.bias"):
        load_text_tower(rewritten(tower, **{"ln_final.bias": None}))


def test_transformers_names_lead_there_and_back(tower: Path) -> None:
    encoder = load_text_tower(tower)
    config, ours = tower_config(encoder), encoder.state_dict()
    theirs = to_transformers(ours, config.layers)
    assert "text_model.encoder.layers.1.self_attn.v_proj.bias" in theirs
    back = from_transformers(theirs, config.layers)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    for quick in (False, True):
        quicker = replace(config, quick_gelu=quick)
        assert tower_config_in(transformers_config(quicker, encoder.vocabulary)) == quicker


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": ["gelu"]}, "hidden_act"),
        ({"intermediate_size": 7}, "intermediate_size"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps"),
        ({"hidden_size": None}, "intermediate_size"),
        ({"num_hidden_layers": "2"}, "layers is '2'"),
    ],
)
def test_another_kind_of_tower_is_refused_by_its_setting(
    changes: dict[str, Any], words: str
) -> None:
    config = transformers_config(TowerConfig(16, 2, 2, 8), 518)
    with pytest.raises(BadContent, match=words):
        tower_config_in({**config, **changes})
