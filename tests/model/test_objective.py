from __future__ import annotations

import torch
from torch import Generator

from paris_p2p.model.objective import (
    Text,
    draw_corruption,
    drop_captions,
    interpolate,
)

SHAPE = (64, 2, 4, 4)


def captions(count: int, value: float = 1.0) -> Text:
    return Text(torch.full((count, 3, 4), value), torch.ones(count, 3))


def test_the_path_starts_at_data_and_ends_at_noise() -> None:
    x0, eps = torch.randn(SHAPE), torch.randn(SHAPE)
    assert torch.equal(interpolate(x0, eps, torch.zeros(64)), x0)
    assert torch.equal(interpolate(x0, eps, torch.ones(64)), eps)


def test_captions_are_dropped_at_the_rate_asked_for() -> None:
    null = Text(torch.zeros(1, 3, 4), torch.tensor([[1.0, 0.0, 0.0]]))
    dropped = drop_captions(captions(10_000), null, 0.1, Generator().manual_seed(0))
    gone = (dropped.tokens == 0).all(dim=(1, 2))
    assert 0.09 < gone.double().mean() < 0.11
    assert torch.equal(dropped.mask[:, 1], (~gone).float())
    assert torch.equal(dropped.tokens[~gone], captions(10_000).tokens[~gone])


def test_padding_beyond_the_longest_caption_is_cut_off() -> None:
    tokens = torch.randn(2, 5, 4)
    mask = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    trimmed = Text(tokens, mask).trimmed()
    assert torch.equal(trimmed.tokens, tokens[:, :3])
    assert torch.equal(trimmed.mask, mask[:, :3])


def test_corruption_comes_from_the_generator_alone() -> None:
    one, two = (draw_corruption(torch.randn(SHAPE), Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.eps, two.eps)
    assert torch.equal(one.t, two.t)
