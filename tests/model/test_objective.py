from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from paris_p2p.model.objective import (
    Corruption,
    Text,
    draw_corruption,
    drop_captions,
    flow_matching_loss,
    interpolate,
    router_loss,
    velocity_target,
)

SHAPE = (64, 2, 4, 4)


def captions(count: int, value: float = 1.0) -> Text:
    return Text(torch.full((count, 3, 4), value), torch.ones(count, 3))


def test_the_path_starts_at_data_and_ends_at_noise() -> None:
    x0, eps = torch.randn(SHAPE), torch.randn(SHAPE)
    assert torch.equal(interpolate(x0, eps, torch.zeros(64)), x0)
    assert torch.equal(interpolate(x0, eps, torch.ones(64)), eps)


def test_the_target_is_the_derivative_of_the_path() -> None:
    x0, eps, t = torch.randn(SHAPE).double(), torch.randn(SHAPE).double(), torch.rand(64).double()
    ahead, behind = interpolate(x0, eps, t + 1e-4), interpolate(x0, eps, t - 1e-4)
    assert torch.allclose((ahead - behind) / 2e-4, velocity_target(x0, eps))


def test_a_perfect_expert_has_no_loss_and_a_silent_one_two() -> None:
    x0 = torch.randn(SHAPE)
    corruption = draw_corruption(x0, Generator().manual_seed(1))

    def perfect(_x: Tensor, _t: Tensor, _text: Tensor, _mask: Tensor) -> Tensor:
        return corruption.eps - x0

    def silent(x: Tensor, _t: Tensor, _text: Tensor, _mask: Tensor) -> Tensor:
        return torch.zeros_like(x)

    assert flow_matching_loss(perfect, x0, captions(64), corruption).item() == 0
    assert abs(flow_matching_loss(silent, x0, captions(64), corruption).item() - 2) < 0.2


def test_the_expert_is_asked_at_the_noised_point_with_its_caption() -> None:
    x0, text = torch.randn(SHAPE), captions(64)
    corruption = Corruption(torch.rand(64), torch.randn(SHAPE))

    def checks(x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        assert torch.equal(x, interpolate(x0, corruption.eps, corruption.t))
        assert torch.equal(t, corruption.t)
        assert tokens is text.tokens
        assert mask is text.mask
        return x

    flow_matching_loss(checks, x0, text, corruption)


def test_captions_are_dropped_at_the_rate_asked_for() -> None:
    null = Text(torch.zeros(1, 3, 4), torch.tensor([[1.0, 0.0, 0.0]]))
    dropped = drop_captions(captions(10_000), null, 0.1, Generator().manual_seed(0))
    gone = (dropped.tokens == 0).all(dim=(1, 2))
    assert 0.09 < gone.double().mean() < 0.11
    assert torch.equal(dropped.mask[:, 1], (~gone).float())
    assert torch.equal(dropped.tokens[~gone], captions(10_000).tokens[~gone])


def test_corruption_comes_from_the_generator_alone() -> None:
    one, two = (draw_corruption(torch.randn(SHAPE), Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.eps, two.eps)
    assert torch.equal(one.t, two.t)


def test_a_router_that_knows_nothing_loses_log_k() -> None:
    x0 = torch.randn(SHAPE)
    loss = router_loss(
        lambda x, _t: torch.zeros(len(x), 8),
        x0,
        torch.zeros(64, dtype=torch.int64),
        draw_corruption(x0, Generator().manual_seed(0)),
    )
    assert math.isclose(loss.item(), math.log(8), rel_tol=1e-6)
