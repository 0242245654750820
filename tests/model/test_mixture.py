from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paris_p2p.errors import NotAvailable, UsageProblem
from paris_p2p.model.mixture import Strategy, expert_weights, mixture_velocity
from paris_p2p.sampling.request import STRATEGIES

from .gaussians import Gaussians

PROBABILITIES = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.05, 0.1, 0.8]]).double()
LOGITS = PROBABILITIES.log()
ALL = torch.ones(4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        (Strategy.named("top-1"), [1, 0, 0, 0]),
        (Strategy.named("top-2"), [0.625, 0.375, 0, 0]),
        (Strategy.named("top-k", k=3), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        (Strategy("threshold", least=0.2), [0.625, 0.375, 0, 0]),
        (Strategy("threshold", least=0.9), [1, 0, 0, 0]),
        (Strategy.named("full"), [0.5, 0.3, 0.15, 0.05]),
    ],
)
def test_each_strategy_keeps_its_experts_and_renormalises(
    strategy: Strategy, weights: list[float]
) -> None:
    decision = expert_weights(LOGITS, strategy, ALL)
    assert torch.allclose(decision.weights[0], torch.tensor(weights).double())
    assert torch.allclose(decision.weights.sum(-1), torch.ones(2).double())
    assert not decision.lost_mass.any()


def test_a_missing_expert_is_masked_and_its_mass_reported() -> None:
    available = torch.tensor([True, False, True, True])
    decision = expert_weights(LOGITS, Strategy.named("top-2"), available)
    assert torch.allclose(decision.lost_mass, torch.tensor([0.3, 0.05]).double())
    assert torch.allclose(decision.weights[0], torch.tensor([0.5, 0, 0.15, 0]).double() / 0.65)
    assert decision.called() == [0, 2, 3]


@pytest.mark.parametrize("name", STRATEGIES)
def test_one_expert_left_answers_alone(name: str) -> None:
    available = torch.tensor([False, False, False, True])
    decision = expert_weights(LOGITS, Strategy.named(name), available)
    assert torch.equal(decision.weights, torch.eye(4).double()[[3, 3]])


def test_no_expert_at_all_is_an_error() -> None:
    with pytest.raises(NotAvailable):
        expert_weights(LOGITS, Strategy.named("full"), ~ALL)


def test_equal_logits_choose_the_lower_indices() -> None:
    decision = expert_weights(torch.zeros(1, 4), Strategy.named("top-2"), ALL)
    assert decision.called() == [0, 1]


@pytest.mark.parametrize(("name", "k"), [("best", 2), ("top-k", 0)])
def test_a_strategy_that_cannot_be_meant(name: str, k: int) -> None:
    with pytest.raises(UsageProblem):
        Strategy.named(name, k)


def test_each_expert_is_asked_once_for_the_samples_that_need_it() -> None:
    asked: dict[int, list[int]] = {}
    x = torch.randn(2, 1, 2, 2)
    weights = torch.tensor([[0.25, 0.75, 0], [0, 1, 0]])

    def velocity_of(expert: int, rows: Tensor) -> Tensor:
        asked[expert] = rows.tolist()
        return torch.full((len(rows), 1, 2, 2), float(expert + 1))

    mixed = mixture_velocity(weights, velocity_of, like=x)
    assert asked == {0: [0], 1: [0, 1]}
    assert torch.allclose(mixed[:, 0, 0, 0], torch.tensor([1.75, 2.0]))


def test_the_decentralised_identity_holds_exactly(mixture: Gaussians) -> None:
    """sum_k p(k | x_t) v_k(x_t) is the velocity of all the data (arXiv 2501.05450)."""
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(500, 2, 1, 1, generator=generator, dtype=torch.float64)
    t = 0.01 + 0.98 * torch.rand(500, generator=generator, dtype=torch.float64)
    available = torch.ones(mixture.clusters, dtype=torch.bool)
    weights = expert_weights(mixture.logits(x, t), Strategy.named("full"), available).weights
    mixed = mixture_velocity(
        weights, lambda expert, rows: mixture.velocity(expert, x[rows], t[rows]), like=x
    )
    assert (mixed - mixture.marginal_velocity(x, t)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "kept"), [("top-2", [[0], [0, 1]]), ("full", [[0, 1, 2], [0, 1, 2]])]
)
def test_experts_that_cannot_matter_are_not_called(name: str, kept: list[list[int]]) -> None:
    logits = torch.tensor([[0.990, 0.0095, 0.0005], [0.98, 0.015, 0.005]]).log()
    weights = expert_weights(logits, Strategy.named(name), torch.ones(3, dtype=torch.bool)).weights
    assert [row.nonzero().flatten().tolist() for row in weights] == kept
    assert torch.allclose(weights.sum(-1), torch.ones(2))


def test_the_likeliest_of_very_many_experts_is_never_dropped() -> None:
    logits = torch.zeros(1, 1000)
    logits[0, 7] = 1e-3
    everyone = torch.ones(1000, dtype=torch.bool)
    sparse = Strategy("sparse", negligible=1 - 1e-9)
    assert expert_weights(logits, sparse, everyone).called() == [7]
