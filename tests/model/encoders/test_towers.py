"""What the towers of a CLIP say of captions and images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.clip import load_clip, load_image_encoder, load_text_encoder

from .small import CLIP


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
        whole, tokenizer = load_clip(clip)
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
        whole, _ = load_clip(clip)
        images = torch.rand(2, 3, 16, 16) * 2 - 1
        expected = whole.encode_image(images, normalize=True)
        assert torch.allclose(load_image_encoder(clip).encode(images), expected, atol=1e-5)
