"""Hub formats load: small local stand-ins of the hub's own files."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import open_clip
import pytest
import safetensors.torch
import timm
import torch

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.model.encoders.hub import (
    CLIP_WEIGHTS,
    load_hub_autoencoder,
    load_hub_image_encoder,
    load_hub_text_encoder,
)


def test_a_diffusers_autoencoder(tmp_path: Path) -> None:
    body = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    body.save_pretrained(tmp_path, safe_serialization=True)
    model = load_hub_autoencoder(str(tmp_path))
    images = torch.rand(1, 3, 256, 256)
    assert model.latent_shape == (4, 128, 128)
    latents = model.encode(images)
    assert latents.shape == (1, *model.latent_shape)
    assert torch.allclose(latents, body.eval().encode(images).latent_dist.mode() * 0.18215)
    assert model.decode(latents).shape == images.shape


def test_an_open_clip_folder(tmp_path: Path) -> None:
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
    model = {"embed_dim": 8, "text_cfg": text, "vision_cfg": vision}
    clip = open_clip.CLIP(8, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    safetensors.torch.save_file(clip.state_dict(), tmp_path / CLIP_WEIGHTS)
    encoder = load_hub_text_encoder(f"local-dir:{tmp_path}")
    assert (encoder.context_length, encoder.width) == (77, 16)
    assert encoder.encode(encoder.tokenize(["a cat"])).shape == (1, 77, 16)
    images = load_hub_image_encoder(f"local-dir:{tmp_path}")
    assert images.encode(torch.zeros(1, 3, 64, 64)).shape == (1, 8)


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BadContent):
        load_hub_text_encoder(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["ViT-L-14/weights.pt", "ViT-L-14/no-such-tag", "nothing"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(BadContent):
        load_hub_text_encoder(name)


def test_what_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotAvailable, match="sd-vae"):
        load_hub_autoencoder("stabilityai/sd-vae-ft-mse")
    with pytest.raises(NotAvailable, match="vit_large_patch14_clip_224"):
        load_hub_text_encoder("ViT-L-14/openai")
    with pytest.raises(NotAvailable, match="dinov2"):
        load_hub_image_encoder("timm:vit_large_patch14_dinov2.lvd142m")


def test_a_timm_tower_from_a_file(tmp_path: Path) -> None:
    name = "test_vit"
    path = tmp_path / "model.safetensors"
    tower = timm.create_model(name, num_classes=0)
    safetensors.torch.save_file(tower.state_dict(), path)
    encoder = load_hub_image_encoder(f"timm:{name}/{path}")
    features = encoder.encode(torch.zeros(2, 3, 50, 50))
    assert features.shape == (2, tower.num_features)
