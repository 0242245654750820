"""Encoders: artefacts come back as they were, lies in them are refused, hub formats load."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import safetensors.torch
import timm
import torch
from diffusers import AutoencoderKL

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.model import encoders
from paris_p2p.model.encoders import (
    AutoencoderConfig,
    ClipConfig,
    SmallAutoencoder,
    build_clip,
    build_tokenizer,
    load_autoencoder,
    load_hub_autoencoder,
    load_hub_image_encoder,
    load_hub_text_encoder,
    load_image_encoder,
    load_text_encoder,
    save_autoencoder,
    save_clip,
)

AUTOENCODER = AutoencoderConfig(
    image_px=16, width=8, encoder_blocks=(0, 1), decoder_blocks=(1, 0), latent_channels=4
)
CLIP = ClipConfig(
    image_px=16,
    patch=8,
    image_width=16,
    image_layers=1,
    text_width=24,
    text_layers=2,
    context_length=8,
    head_width=8,
    features=12,
)
MERGES = ["c a", "ca t</w>", "d o", "do g</w>"]


@pytest.fixture
def autoencoder(tmp_path: Path) -> Path:
    model = SmallAutoencoder(AUTOENCODER)
    model.shift.copy_(torch.tensor([0.5, 0.0, -0.5, 1.0]))
    model.scale.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))
    save_autoencoder(tmp_path / "autoencoder.safetensors", model)
    return tmp_path / "autoencoder.safetensors"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    model = build_clip(CLIP, build_tokenizer(MERGES, CLIP.context_length).vocab_size)
    save_clip(tmp_path / "clip.safetensors", model, CLIP, MERGES)
    return tmp_path / "clip.safetensors"


def rewritten(
    path: Path, metadata: dict[str, str] | None = None, **tensors: torch.Tensor | None
) -> bytes:
    """The artefact with some metadata and tensors replaced, or left out where None."""
    state: dict[str, Any] = safetensors.torch.load_file(path) | tensors
    meta = encoders.read_metadata(path) | (metadata or {})
    return safetensors.torch.save({k: v for k, v in state.items() if v is not None}, meta)


class TestAutoencoder:
    def test_latents_have_the_shape_it_says(self, autoencoder: Path) -> None:
        model = load_autoencoder(autoencoder)
        images = torch.rand(3, 3, 16, 16) * 2 - 1
        latents = model.encode(images)
        assert model.latent_shape == (4, 4, 4)
        assert latents.shape == (3, *model.latent_shape)
        assert model.decode(latents).shape == images.shape

    def test_bytes_and_file_give_the_same_network(self, autoencoder: Path) -> None:
        images = torch.rand(2, 3, 16, 16)
        from_file = load_autoencoder(autoencoder).encode(images)
        from_bytes = load_autoencoder(autoencoder.read_bytes()).encode(images)
        assert torch.equal(from_file, from_bytes)
        assert not from_file.requires_grad

    def test_normalisation_is_undone_on_decoding(self, autoencoder: Path) -> None:
        model = load_autoencoder(autoencoder)
        raw = torch.randn(1, 4, 4, 4)
        normalised = (raw - model.shift[:, None, None]) / model.scale[:, None, None]
        plain = SmallAutoencoder(AUTOENCODER)
        plain.load_state_dict(
            model.state_dict() | {"shift": torch.zeros(4), "scale": torch.ones(4)}
        )
        assert torch.allclose(model.decode(normalised), plain.decode(raw), atol=1e-5)

    def test_the_patch_makes_the_grid_coarser(self) -> None:
        model = SmallAutoencoder(replace(AUTOENCODER, patch=4))
        assert model.latent_shape == (4, 2, 2)
        assert model.encode(torch.zeros(1, 3, 16, 16)).shape == (1, 4, 2, 2)

    def test_another_format_is_refused(self, autoencoder: Path, clip: Path) -> None:
        with pytest.raises(BadContent, match="format"):
            load_autoencoder(clip)
        with pytest.raises(BadContent, match="format"):
            load_text_encoder(autoencoder)

    @pytest.mark.parametrize(
        "change",
        [
            {"width": 1 << 20},
            {"width": 8.0},
            {"width": True},
            {"latent_channels": 0},
            {"patch": -2},
            {"image_px": 18},
            {"encoder_blocks": [1] * 40},
            {"encoder_blocks": [1, 1, 1]},
            {"encoder_blocks": 3},
            {"decoder_blocks": [0, 10**9]},
            {"decoder_blocks": ["1", "1"]},
            {"surplus": 1},
        ],
    )
    def test_a_config_out_of_bounds_is_refused(
        self, autoencoder: Path, change: dict[str, Any]
    ) -> None:
        config = json.dumps(asdict(AUTOENCODER) | change)
        with pytest.raises(BadContent):
            load_autoencoder(rewritten(autoencoder, {"config": config}))

    @pytest.mark.parametrize("config", ["", "[]", "{}", "null", "[" * 100_000])
    def test_a_config_that_is_none_is_refused(self, autoencoder: Path, config: str) -> None:
        with pytest.raises(BadContent):
            load_autoencoder(rewritten(autoencoder, {"config": config}))

    @pytest.mark.parametrize(
        "tensors",
        [
            {"shift": None},
            {"surplus": torch.zeros(1)},
            {"shift": torch.zeros(5)},
            {"shift": torch.zeros(4, dtype=torch.int8)},
            {"shift": torch.tensor([0.0, float("nan"), 0.0, 0.0])},
            {"scale": torch.tensor([1.0, 0.0, 1.0, 1.0])},
        ],
    )
    def test_other_tensors_are_refused(
        self, autoencoder: Path, tensors: dict[str, torch.Tensor | None]
    ) -> None:
        with pytest.raises(BadContent):
            load_autoencoder(rewritten(autoencoder, **tensors))

    def test_a_cut_file_is_refused(self, autoencoder: Path) -> None:
        data = autoencoder.read_bytes()
        for cut in (0, 7, 100, len(data) - 1):
            with pytest.raises(BadContent):
                load_autoencoder(data[:cut])


class TestTokenizer:
    def test_merges_make_words_of_letters(self) -> None:
        tokenizer = build_tokenizer(MERGES, 8)
        assert tokenizer.decode(tokenizer.encode("Cat dog")) == "cat dog "
        assert len(tokenizer.encode("cat dog")) == 2
        assert len(tokenizer.encode("cats")) > 1

    @pytest.mark.parametrize(
        "merge", ["", "a", "a b c", "zz q", "c a", "a  b", "<start_of_text> a", "a\u3042 b"]
    )
    def test_a_merge_that_is_none_is_refused(self, merge: str) -> None:
        with pytest.raises(BadContent):
            build_tokenizer([*MERGES, merge], 8)

    def test_too_many_merges_are_refused(self) -> None:
        with pytest.raises(BadContent, match="more than"):
            build_tokenizer(["a b"] * (encoders.MAX_MERGES + 1), 8)


class TestTextEncoder:
    def test_ids_are_padded_and_masked_to_the_end_token(self, clip: Path) -> None:
        text = load_text_encoder(clip)
        ids = text.tokenize(["cat dog", ""])
        start, end = text.vocabulary - 2, text.vocabulary - 1
        assert ids.shape == (2, text.context_length) and ids.dtype == torch.int64
        assert ids[1].tolist() == [start, end, 0, 0, 0, 0, 0, 0]
        assert text.mask(ids).sum(dim=1).tolist() == [4, 2]

    def test_states_are_one_vector_a_token(self, clip: Path) -> None:
        text = load_text_encoder(clip)
        states = text.encode(text.tokenize(["cat", "dog", "cat"]))
        assert states.shape == (3, text.context_length, text.width) and text.width == 24
        assert states.isfinite().all()
        assert torch.allclose(states[0], states[2]) and not torch.allclose(states[0], states[1])

    def test_states_are_what_the_clip_pools(self, clip: Path) -> None:
        whole, tokenizer = encoders.load_clip(clip)
        text = load_text_encoder(clip)
        ids = tokenizer(["dog"])
        last = text.encode(ids)[0, int(text.mask(ids).sum()) - 1]
        assert torch.allclose(last @ whole.text_projection, whole.encode_text(ids)[0], atol=1e-5)

    def test_padding_does_not_change_the_words(self, clip: Path) -> None:
        text = load_text_encoder(clip)
        ids = text.tokenize(["cat"])
        other = ids.clone()
        other[0, 3:] = 5
        assert torch.allclose(text.encode(ids)[0, :3], text.encode(other)[0, :3], atol=1e-6)

    def test_truncation_is_reported(self, clip: Path) -> None:
        text = load_text_encoder(clip)
        assert not text.truncated("cat " * 6)
        assert text.truncated("cat " * 7)
        assert text.truncated(" " * 10_000)
        cut = text.tokenize(["cat " * 100_000])
        assert int(cut[0, -1]) == text.vocabulary - 1 and text.mask(cut).all()

    @pytest.mark.parametrize("bad", [-1, 10**6])
    def test_ids_outside_the_vocabulary_are_refused(self, clip: Path, bad: int) -> None:
        text = load_text_encoder(clip)
        with pytest.raises(BadContent, match="vocabulary"):
            text.encode(torch.full((1, text.context_length), bad))

    @pytest.mark.parametrize(
        "metadata",
        [
            {"merges": "nonsense"},
            {"merges": "\n".join([*MERGES, "a b"])},
            {"config": json.dumps(asdict(CLIP) | {"text_width": 1 << 30})},
            {"config": json.dumps(asdict(CLIP) | {"head_width": 9})},
            {"config": json.dumps(asdict(CLIP) | {"context_length": 9})},
        ],
    )
    def test_a_lying_artefact_is_refused(self, clip: Path, metadata: dict[str, str]) -> None:
        with pytest.raises(BadContent):
            load_text_encoder(rewritten(clip, metadata))


class TestImageEncoder:
    def test_features_have_unit_length(self, clip: Path) -> None:
        encoder = load_image_encoder(clip)
        features = encoder.encode(torch.rand(3, 3, 16, 16) * 2 - 1)
        assert features.shape == (3, CLIP.features)
        assert torch.allclose(features.norm(dim=1), torch.ones(3))

    def test_other_sizes_are_resized(self, clip: Path) -> None:
        encoder = load_image_encoder(clip)
        assert encoder.encode(torch.zeros(1, 3, 40, 40)).shape == (1, CLIP.features)

    def test_the_tower_sees_the_signal_itself(self, clip: Path) -> None:
        whole, _ = encoders.load_clip(clip)
        images = torch.rand(2, 3, 16, 16) * 2 - 1
        expected = whole.encode_image(images, normalize=True)
        assert torch.allclose(load_image_encoder(clip).encode(images), expected, atol=1e-5)


class TestHubFormats:
    """Small local stand-ins of the hub's own file formats."""

    def test_a_diffusers_autoencoder(self, tmp_path: Path) -> None:
        body = AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
        )
        body.save_pretrained(tmp_path, safe_serialization=True)
        model = load_hub_autoencoder(str(tmp_path), scaling=0.5, image_px=32)
        images = torch.rand(1, 3, 32, 32)
        assert model.latent_shape == (4, 16, 16)
        latents = model.encode(images)
        assert latents.shape == (1, *model.latent_shape)
        assert torch.allclose(latents, body.eval().encode(images).latent_dist.mode() * 0.5)
        assert model.decode(latents).shape == images.shape

    def test_an_open_clip_folder(self, tmp_path: Path) -> None:
        text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
        model = {"embed_dim": 8, "text_cfg": text, "vision_cfg": vision}
        clip = open_clip.CLIP(8, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text))
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
        safetensors.torch.save_file(clip.state_dict(), tmp_path / encoders.CLIP_WEIGHTS)
        encoder = load_hub_text_encoder(f"local-dir:{tmp_path}")
        assert (encoder.context_length, encoder.width) == (77, 16)
        assert encoder.encode(encoder.tokenize(["a cat"])).shape == (1, 77, 16)
        images = load_hub_image_encoder(f"local-dir:{tmp_path}")
        assert images.encode(torch.zeros(1, 3, 64, 64)).shape == (1, 8)

    def test_a_folder_without_safetensors_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"pickle")
        with pytest.raises(BadContent):
            load_hub_text_encoder(f"local-dir:{tmp_path}")

    @pytest.mark.parametrize("name", ["ViT-L-14/weights.pt", "ViT-L-14/no-such-tag", "nothing"])
    def test_other_names_are_refused(self, name: str) -> None:
        with pytest.raises(BadContent):
            load_hub_text_encoder(name)

    def test_what_cannot_be_had_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(NotAvailable, match="sd-vae"):
            load_hub_autoencoder("stabilityai/sd-vae-ft-mse")
        with pytest.raises(NotAvailable, match="vit_large_patch14_clip_224"):
            load_hub_text_encoder("ViT-L-14/openai")
        with pytest.raises(NotAvailable, match="dinov2"):
            load_hub_image_encoder("timm:vit_large_patch14_dinov2.lvd142m")

    def test_a_timm_tower_from_a_file(self, tmp_path: Path) -> None:
        name = "test_vit"
        path = tmp_path / "model.safetensors"
        tower = timm.create_model(name, num_classes=0)
        safetensors.torch.save_file(tower.state_dict(), path)
        encoder = load_hub_image_encoder(f"timm:{name}/{path}")
        features = encoder.encode(torch.zeros(2, 3, 50, 50))
        assert features.shape == (2, tower.num_features)
