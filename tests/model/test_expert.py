from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from paris_p2p.errors import BadContent
from paris_p2p.model.expert import PRESETS, Expert, build_expert
from paris_p2p.model.objective import Text

EMOJI = (16, 8, 8)
FULL_SIZE = (4, 32, 32)

Call = tuple[Tensor, Tensor, Tensor, Tensor]


def a_call(count: int = 2, length: int = 5) -> Call:
    """x, t, text and mask for the tiny preset."""
    text = torch.randn(count, length, PRESETS["tiny"].caption_width)
    return torch.randn(count, *EMOJI), torch.rand(count), text, torch.ones(count, length)


def awake(expert: Expert) -> Expert:
    """With every zero-initialised tensor filled, so that each input matters."""
    with torch.no_grad():
        for parameter in expert.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return expert.eval()


@pytest.mark.parametrize(
    ("preset", "shape", "millions"),
    [
        ("tiny", EMOJI, 1.26),
        ("S/2", FULL_SIZE, 30.0),
        ("B/2", FULL_SIZE, 119.0),
        ("L/2", FULL_SIZE, 412.6),
        ("XL/2", FULL_SIZE, 607.0),
    ],
)
def test_presets_have_the_size_they_promise(
    preset: str, shape: tuple[int, int, int], millions: float
) -> None:
    with torch.device("meta"):
        expert = build_expert(PRESETS[preset], shape)
    assert sum(p.numel() for p in expert.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("patch", [1, 2])
def test_the_first_velocity_is_zero_and_trains(patch: int) -> None:
    expert = build_expert(replace(PRESETS["tiny"], patch=patch), EMOJI)
    x, t, text, mask = a_call()
    velocity = expert(x, t, text, mask)
    assert velocity.shape == x.shape
    assert not velocity.any()
    (velocity - 1).square().mean().backward()
    assert expert.transformer.proj_out.bias.grad.any()


def test_padding_does_not_matter_and_words_do() -> None:
    expert = awake(build_expert(PRESETS["tiny"], EMOJI))
    x, t, text, mask = a_call()
    mask[:, 3:] = 0
    other_padding, other_word = text.clone(), text.clone()
    other_padding[:, 3:] += 1
    other_word[:, 0] += 1
    with torch.inference_mode():
        velocity = expert(x, t, text, mask)
        assert torch.equal(velocity, expert(x, t, other_padding, mask))
        assert not torch.allclose(velocity, expert(x, t, other_word, mask))


def test_trimmed_captions_get_the_same_answer() -> None:
    expert = awake(build_expert(PRESETS["tiny"], EMOJI))
    x, t, text, mask = a_call()
    mask[:, 3:] = 0
    short = Text(text, mask).trimmed()
    assert short.tokens.shape[1] == 3
    with torch.inference_mode():
        full, trimmed = expert(x, t, text, mask), expert(x, t, short.tokens, short.mask)
    assert torch.allclose(full, trimmed, rtol=1e-5, atol=1e-5)


def test_time_matters() -> None:
    expert = awake(build_expert(PRESETS["tiny"], EMOJI))
    x, t, text, mask = a_call()
    with torch.inference_mode():
        assert not torch.allclose(expert(x, t, text, mask), expert(x, 1 - t, text, mask))


def test_published_names_are_those_of_diffusers() -> None:
    names = build_expert(PRESETS["tiny"], EMOJI).core.state_dict().keys()
    assert "transformer_blocks.0.attn1.to_q.weight" in names
    assert "proj_out.weight" in names


@pytest.mark.parametrize("shape", [(16, 8, 4), (16, 7, 7)])
def test_latents_must_divide_into_square_patches(shape: tuple[int, int, int]) -> None:
    with pytest.raises(BadContent, match="patches"):
        build_expert(PRESETS["tiny"], shape)


def test_a_width_without_room_for_positions_is_refused() -> None:
    with pytest.raises(BadContent, match="hidden: 126 is not a multiple of 4"):
        build_expert(replace(PRESETS["tiny"], hidden=126, heads=1), EMOJI)
