"""Experts of different objectives in one mixture, on data whose optimum is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Generator, Tensor

from paris_p2p.model.expert_objectives import (
    EXPERT_OBJECTIVES,
    LATEST,
    FlowMatching,
    NoisePrediction,
    Prediction,
    expert_loss,
)
from paris_p2p.model.mixture import Strategy
from paris_p2p.model.objective import Corruption, Text, VelocityField, draw_corruption
from paris_p2p.model.sampler import EnsembleSampler, guided_velocity
from paris_p2p.records.objectives import OBJECTIVES

from .gaussians import Gaussians

NAMES = sorted(EXPERT_OBJECTIVES)
MIXED = ("ddpm-linear", "flow-logit-normal", "ddpm-cosine")
POINTS = 20_000
OTHER = Gaussians(
    shares=torch.tensor([0.1, 0.2, 0.7]).double(),
    means=torch.tensor([[1.5, 1.5], [-1.0, 0.0], [0.0, 1.2]]).double(),
    variances=torch.tensor([[0.1, 0.3], [0.4, 0.1], [0.15, 0.05]]).double(),
)
"""The same three clusters under another caption: other places, other shares."""


def captions(values: Tensor) -> Text:
    """Captions of one token, which is a number."""
    return Text(values.view(-1, 1, 1), torch.ones(len(values), 1))


def exact_network(name: str, cluster: int, by_caption: Sequence[Gaussians]) -> Prediction:
    """The optimum of an objective on a cluster, where caption c selects `by_caption[c]`."""
    objective = EXPERT_OBJECTIVES[name]

    def predict(x: Tensor, time: Tensor, text: Tensor, _mask: Tensor) -> Tensor:
        answers = []
        for mixture in by_caption:
            if isinstance(objective, NoisePrediction):
                alpha = objective.schedule.alpha(time)
                answers.append(mixture.noise(cluster, x, alpha, (1 - alpha**2).sqrt()))
            else:
                answers.append(mixture.velocity(cluster, x, time))
        return torch.stack(answers)[text.flatten().long(), torch.arange(len(x))]

    return predict


def exact_expert(name: str, cluster: int, by_caption: Sequence[Gaussians]) -> VelocityField:
    return EXPERT_OBJECTIVES[name].as_velocity(exact_network(name, cluster, by_caption))


def test_every_name_that_records_know_has_its_objective() -> None:
    assert tuple(EXPERT_OBJECTIVES) == OBJECTIVES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("t", [0.001, 0.1, 0.5, 0.9, LATEST])
def test_an_exact_expert_of_any_objective_is_the_exact_velocity(
    mixture: Gaussians, name: str, t: float
) -> None:
    x = 2 * torch.randn(200, 2, 1, 1).double()
    times, text = torch.full((200,), t).double(), captions(torch.zeros(200))
    for cluster in range(mixture.clusters):
        answer = exact_expert(name, cluster, [mixture])(x, times, text.tokens, text.mask)
        assert torch.allclose(answer, mixture.velocity(cluster, x, times), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["ddpm-linear", "ddpm-cosine"])
@pytest.mark.parametrize("t", [0.995, 1.0])
def test_near_pure_noise_the_last_answer_with_a_signal_stands(
    mixture: Gaussians, name: str, t: float
) -> None:
    x, times = torch.randn(200, 2, 1, 1).double(), torch.full((200,), t).double()
    text = captions(torch.zeros(200))
    answer = exact_expert(name, 0, [mixture])(x, times, text.tokens, text.mask)
    at_last = mixture.velocity(0, x, torch.full_like(times, LATEST))
    assert torch.allclose(answer, at_last, rtol=1e-6, atol=1e-6)
    assert (answer - mixture.velocity(0, x, times)).abs().max() < 0.3


@pytest.mark.parametrize("name", ["ddpm-linear", "ddpm-cosine"])
def test_the_network_is_asked_at_equal_signal_to_noise(name: str) -> None:
    objective = EXPERT_OBJECTIVES[name]
    assert isinstance(objective, NoisePrediction)
    x, t = torch.randn(50, 2, 1, 1).double(), torch.linspace(0.01, LATEST, 50).double()

    def network(state: Tensor, s: Tensor, _text: Tensor, _mask: Tensor) -> Tensor:
        alpha = objective.schedule.alpha(s)
        assert torch.allclose((1 - alpha**2).sqrt() / alpha, t / (1 - t), rtol=1e-6)
        assert torch.allclose(state, x * (alpha / (1 - t)).view(-1, 1, 1, 1), rtol=1e-6)
        return state

    text = captions(torch.zeros(50))
    objective.as_velocity(network)(x, t, text.tokens, text.mask)


def assert_is_sample_of(points: Tensor, mixture: Gaussians) -> None:
    """Mean, covariance and shares: standard errors at 20,000 points are 0.009, 0.016, 0.0035."""
    assert (points.mean(0) - mixture.mean()).abs().max() < 0.04
    assert (points.T.cov() - mixture.covariance()).abs().max() < 0.06
    found = mixture.logits(points[:, :, None, None], torch.zeros(len(points))).argmax(-1)
    clusters = torch.multinomial(
        mixture.shares, POINTS, replacement=True, generator=Generator().manual_seed(1)
    )
    real = mixture.means[clusters] + mixture.variances[clusters].sqrt() * torch.randn(
        POINTS, 2, generator=Generator().manual_seed(2), dtype=torch.float64
    )
    expected = mixture.logits(real[:, :, None, None], torch.zeros(POINTS)).argmax(-1)
    shares = [torch.bincount(each, minlength=3) / len(each) for each in (found, expected)]
    assert (shares[0] - shares[1]).abs().max() < 0.02


def sampled(mixtures: Sequence[Gaussians], text: Tensor, names: Sequence[str]) -> Tensor:
    """Points (N, D) of exact experts with these objectives and the exact posterior given text."""

    def router(x: Tensor, t: Tensor) -> Tensor:
        logits = torch.stack([mixture.logits(x, t) for mixture in mixtures])
        return logits[text.long(), torch.arange(len(x))]

    sampler = EnsembleSampler(
        router=router,
        load_expert=lambda cluster: exact_expert(names[cluster], cluster, mixtures),
        null=captions(torch.zeros(1)),
        available=torch.ones(3, dtype=torch.bool),
        strategy=Strategy.named("full"),
    )
    noise = torch.randn(len(text), 2, 1, 1, generator=Generator().manual_seed(0)).double()
    return sampler.sample(captions(text), noise, steps=100).latents.flatten(1)


def test_exact_experts_of_mixed_objectives_sample_the_right_distribution(
    mixture: Gaussians,
) -> None:
    assert_is_sample_of(sampled([mixture], torch.zeros(POINTS), MIXED), mixture)


def test_with_captions_each_caption_samples_its_own_distribution(mixture: Gaussians) -> None:
    text = (torch.arange(2 * POINTS) % 2).double()
    points = sampled([mixture, OTHER], text, MIXED)
    assert_is_sample_of(points[text == 0], mixture)
    assert_is_sample_of(points[text == 1], OTHER)


def test_mixed_objectives_give_the_points_that_flow_matching_alone_gives(
    mixture: Gaussians,
) -> None:
    text = torch.zeros(1000)
    mixed, flow = (sampled([mixture], text, names) for names in (MIXED, ("flow",) * 3))
    assert (mixed - flow).square().mean().sqrt() < 0.01


def test_guiding_velocities_is_guiding_noise_predictions(mixture: Gaussians) -> None:
    objective = EXPERT_OBJECTIVES["ddpm-linear"]
    network = exact_network("ddpm-linear", 0, [mixture, OTHER])
    x, t = torch.randn(9, 2, 1, 1).double(), torch.linspace(0.05, 1, 9).double()
    text, null = captions(torch.ones(9)), captions(torch.zeros(1))

    def guided(state: Tensor, s: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        return guided_velocity(network, state, s, Text(tokens, mask), null, 4.0)

    of_noise = objective.as_velocity(guided)(x, t, text.tokens, text.mask)
    of_velocity = guided_velocity(objective.as_velocity(network), x, t, text, null, 4.0)
    assert torch.allclose(of_noise, of_velocity)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_expert_has_no_loss_and_a_silent_one_that_of_its_target(name: str) -> None:
    objective, x0 = EXPERT_OBJECTIVES[name], torch.randn(64, 2, 4, 4)
    text = captions(torch.ones(64))
    corruption = draw_corruption(x0, Generator().manual_seed(1), objective.draw_times)
    target = objective.target(x0, corruption.eps)
    perfect = expert_loss(objective, lambda *_: target, x0, text, corruption)
    silent = expert_loss(objective, lambda x, *_: torch.zeros_like(x), x0, text, corruption)
    assert perfect.item() == 0
    assert abs(silent.item() - (2 if isinstance(objective, FlowMatching) else 1)) < 0.2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_what_minimises_the_loss_is_what_sampling_takes_the_network_for(
    mixture: Gaussians, name: str, time: float
) -> None:
    """The regression of the target on the state at one time is the exact network there."""
    objective, count = EXPERT_OBJECTIVES[name], 200_000
    deviation = mixture.variances[0].sqrt().view(1, 2, 1, 1)
    x0 = mixture.means[0].view(1, 2, 1, 1) + deviation * torch.randn(count, 2, 1, 1).double()
    times = torch.full((count,), time).double()
    corruption = Corruption(times, torch.randn_like(x0))
    state, target = objective.corrupt(x0, corruption), objective.target(x0, corruption.eps)
    exact = exact_network(name, 0, [mixture])
    text = captions(torch.zeros(count))
    error = target - exact(state, times, text.tokens, text.mask)
    assert error.mean(0).abs().max() < 0.02
    assert (error * state).mean(0).abs().max() < 0.02


def test_logit_normal_times_favour_the_middle() -> None:
    times = EXPERT_OBJECTIVES["flow-logit-normal"].draw_times(100_000, Generator().manual_seed(0))
    logits = times.logit()
    assert abs(logits.mean()) < 0.02 and abs(logits.std() - 1) < 0.02
    assert ((times > 0.25) & (times < 0.75)).float().mean() > 0.7


def test_the_network_sees_the_noised_point_its_time_and_its_caption() -> None:
    objective, x0 = FlowMatching(), torch.randn(64, 2, 4, 4)
    text = captions(torch.ones(64))
    corruption = Corruption(torch.rand(64), torch.randn_like(x0))

    def network(x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        assert torch.equal(x, objective.corrupt(x0, corruption))
        assert torch.equal(t, corruption.t)
        assert tokens is text.tokens and mask is text.mask
        return x

    expert_loss(objective, network, x0, text, corruption)


def test_the_flow_target_is_the_derivative_of_the_path() -> None:
    objective = FlowMatching()
    x0, eps, t = torch.randn(9, 2, 4, 4).double(), torch.randn(9, 2, 4, 4), torch.rand(9).double()
    ahead, behind = (objective.corrupt(x0, Corruption(t + d, eps)) for d in (1e-4, -1e-4))
    assert torch.allclose((ahead - behind) / 2e-4, objective.target(x0, eps))
