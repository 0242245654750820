from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paris_p2p.errors import NotAvailable
from paris_p2p.model.integrators import INTEGRATORS
from paris_p2p.model.mixture import Strategy
from paris_p2p.model.objective import Text, VelocityField
from paris_p2p.model.sampler import (
    BadAnswer,
    EnsembleSampler,
    draw_noise,
    guided_velocity,
)
from paris_p2p.records.run import ROUTER

from .gaussians import Gaussians

POINT = (2, 1, 1)


def captions(count: int, value: float = 0.0) -> Text:
    return Text(torch.full((count, 1, 1), value), torch.ones(count, 1))


def exact_experts(mixture: Gaussians) -> list[VelocityField]:
    def expert(cluster: int) -> VelocityField:
        return lambda x, t, _text, _mask: mixture.velocity(cluster, x, t)

    return [expert(cluster) for cluster in range(mixture.clusters)]


def a_sampler(mixture: Gaussians, **options: object) -> EnsembleSampler:
    settings: dict[str, object] = {
        "router": mixture.logits,
        "load_expert": exact_experts(mixture).__getitem__,
        "null": captions(1),
        "available": torch.ones(mixture.clusters, dtype=torch.bool),
        "strategy": Strategy.named("full"),
    }
    return EnsembleSampler(**(settings | options))  # type: ignore[arg-type]


def test_exact_experts_and_router_give_the_mixture_back(mixture: Gaussians) -> None:
    noise = torch.randn(20_000, *POINT, generator=torch.Generator().manual_seed(0)).double()
    sample = a_sampler(mixture).sample(captions(len(noise)), noise, steps=100)
    points = sample.latents.flatten(1)
    assert (points.mean(0) - mixture.mean()).abs().max() < 0.03
    assert (points.T.cov() - mixture.covariance()).abs().max() < 0.06


@pytest.mark.parametrize(("guidance", "expected"), [(0.0, 2.0), (1.0, 5.0), (4.0, 14.0)])
def test_guidance_moves_along_the_caption(guidance: float, expected: float) -> None:
    def expert(x: Tensor, _t: Tensor, text: Tensor, _mask: Tensor) -> Tensor:
        return text.view(-1, 1, 1, 1).expand_as(x)

    x, t = torch.zeros(3, *POINT), torch.ones(3)
    velocity = guided_velocity(expert, x, t, captions(3, 5.0), captions(1, 2.0), guidance)
    assert torch.equal(velocity, torch.full_like(x, expected))


def test_one_router_decision_a_step_serves_both_branches(mixture: Gaussians) -> None:
    decisions = 0

    def router(x: Tensor, t: Tensor) -> Tensor:
        nonlocal decisions
        decisions += 1
        assert len(x) == 4
        return mixture.logits(x, t)

    sampler = a_sampler(mixture, router=router, guidance=3.0)
    sample = sampler.sample(captions(4), draw_noise(4, POINT, seed=0), steps=6)
    assert decisions == 6
    assert sample.weights.shape == (6, 4, mixture.clusters)
    assert sample.lost_mass.shape == (6, 4)


def test_the_router_decides_at_every_call_of_a_sampler_that_asks_twice(
    mixture: Gaussians,
) -> None:
    sampler = a_sampler(mixture, integrator=INTEGRATORS["heun"])
    sample = sampler.sample(captions(4), draw_noise(4, POINT, seed=0), steps=6)
    assert sample.weights.shape == (11, 4, mixture.clusters)
    assert sample.lost_mass.shape == (11, 4)


def test_only_the_experts_called_for_are_loaded_and_each_once(mixture: Gaussians) -> None:
    loaded: list[int] = []

    def load(expert: int) -> VelocityField:
        loaded.append(expert)
        return exact_experts(mixture)[expert]

    def router(x: Tensor, _t: Tensor) -> Tensor:
        return torch.tensor([0.0, 9.0, 8.0]).expand(len(x), 3)

    sampler = a_sampler(mixture, router=router, load_expert=load, strategy=Strategy.named("top-2"))
    sampler.sample(captions(2), draw_noise(2, POINT, seed=0), steps=5)
    assert sorted(loaded) == [1, 2]


def test_an_expert_nobody_has_is_masked_and_counted(mixture: Gaussians) -> None:
    experts = exact_experts(mixture)
    asked: list[int] = []

    def load(expert: int) -> VelocityField | None:
        asked.append(expert)
        return None if expert == 0 else experts[expert]

    sampler = a_sampler(mixture, load_expert=load)
    sample = sampler.sample(captions(8), draw_noise(8, POINT, seed=0).double(), steps=5)
    assert asked.count(0) == 1
    assert not sample.weights[..., 0].any()
    assert torch.allclose(sample.lost_mass[0], torch.full((8,), 0.5).double())


def test_no_expert_at_all_is_an_error(mixture: Gaussians) -> None:
    with pytest.raises(NotAvailable):
        a_sampler(mixture, load_expert=lambda _expert: None).sample(
            captions(1), draw_noise(1, POINT, seed=0), steps=1
        )


@pytest.mark.parametrize("absurd", [torch.nan, torch.inf, -3e38])
def test_who_answers_with_absurd_numbers_is_named(mixture: Gaussians, absurd: float) -> None:
    experts = exact_experts(mixture)
    experts[1] = lambda x, _t, _text, _mask: torch.full_like(x, absurd)
    noise = draw_noise(2, POINT, seed=0).double()
    with pytest.raises(BadAnswer) as caught:
        a_sampler(mixture, load_expert=experts.__getitem__).sample(captions(2), noise, steps=3)
    assert caught.value.slot == 1

    def router(x: Tensor, _t: Tensor) -> Tensor:
        return torch.full((len(x), mixture.clusters), absurd)

    with pytest.raises(BadAnswer) as caught:
        a_sampler(mixture, router=router).sample(captions(2), noise, steps=3)
    assert caught.value.slot == ROUTER


def test_noise_depends_on_the_seed_of_each_image_alone() -> None:
    batch = draw_noise(3, (4, 8, 8), seed=10)
    assert torch.equal(batch[2], draw_noise(1, (4, 8, 8), seed=12)[0])
    assert not torch.equal(batch[0], batch[1])


def test_the_same_seed_gives_the_same_latents(mixture: Gaussians) -> None:
    first, second = (
        a_sampler(mixture).sample(captions(3), draw_noise(3, POINT, seed=1), steps=4).latents
        for _ in range(2)
    )
    assert torch.equal(first, second)


def only(cluster: int, clusters: int, strength: float = 50.0) -> Tensor:
    return strength * torch.eye(clusters)[cluster]


def test_what_the_captions_say_is_read_once_and_decides(mixture: Gaussians) -> None:
    read: list[int] = []

    def reader(text: Text) -> Tensor:
        read.append(len(text))
        return torch.stack([only(2, 3), only(0, 3), torch.zeros(3)])

    noise = draw_noise(3, POINT, seed=0).double()
    asked = captions(3)
    reading = a_sampler(mixture, read=reader).sample(asked, noise, steps=5)
    blind = a_sampler(mixture).sample(asked, noise, steps=5)
    assert read == [3]
    assert reading.weights[:, :2].argmax(-1).tolist() == [[2, 0]] * 5
    assert torch.equal(reading.latents[2], blind.latents[2])


def a_reading_sampler(guidance: float, own_routing: bool) -> Tensor:
    """One step where expert 0 answers the caption's value, and expert 1 ten more."""
    experts: list[VelocityField] = [
        lambda x, _t, text, _mask: text.view(-1, 1, 1, 1).expand_as(x),
        lambda x, _t, text, _mask: text.view(-1, 1, 1, 1).expand_as(x) + 10,
    ]
    sampler = EnsembleSampler(
        router=lambda x, _t: only(1, 2, 5.0).expand(len(x), 2),
        load_expert=experts.__getitem__,
        null=captions(1, 2.0),
        available=torch.ones(2, dtype=torch.bool),
        read=lambda text: only(0, 2).expand(len(text), 2),
        strategy=Strategy.named("top-1"),
        guidance=guidance,
        own_routing=own_routing,
    )
    return -sampler.sample(captions(1, 5.0), torch.zeros(1, *POINT), steps=1).latents


@pytest.mark.parametrize(
    ("own_routing", "guidance", "expected"),
    [(False, 4.0, 2 + 4 * (5 - 2)), (True, 4.0, 12 + 4 * (5 - 12)), (True, 1.0, 5)],
)
def test_the_branches_of_guidance_share_a_decision_or_have_their_own(
    own_routing: bool, guidance: float, expected: float
) -> None:
    velocity = a_reading_sampler(guidance, own_routing)
    assert torch.equal(velocity, torch.full((1, *POINT), expected))


def test_a_reader_that_answers_with_absurd_numbers_is_the_router(mixture: Gaussians) -> None:
    with pytest.raises(BadAnswer) as caught:
        a_sampler(mixture, read=lambda text: torch.full((len(text), 3), torch.nan)).sample(
            captions(2), draw_noise(2, POINT, seed=0).double(), steps=1
        )
    assert caught.value.slot == ROUTER


def test_once_decides_at_the_start_and_keeps_to_it(mixture: Gaussians) -> None:
    asked: list[float] = []

    def router(x: Tensor, t: Tensor) -> Tensor:
        asked.append(t[0].item())
        return only(1 if t[0] == 1 else 2, 3).expand(len(x), 3)

    sampler = a_sampler(mixture, router=router, strategy=Strategy.named("once"), guidance=3.0)
    sample = sampler.sample(captions(2), draw_noise(2, POINT, seed=0).double(), steps=4)
    assert asked == [1.0]
    assert sample.weights.argmax(-1).tolist() == [[1, 1]] * 4


def test_clusters_drawn_once_give_the_mixture_back(mixture: Gaussians) -> None:
    count = 20_000
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(mixture.shares, count, replacement=True, generator=generator)
    noise = torch.randn(count, *POINT, generator=generator).double()
    sampler = a_sampler(
        mixture,
        read=lambda _: 50.0 * torch.eye(3)[drawn].double(),
        strategy=Strategy.named("once"),
    )
    points = sampler.sample(captions(count), noise, steps=100).latents.flatten(1)
    assert (points.mean(0) - mixture.mean()).abs().max() < 0.03
    assert (points.T.cov() - mixture.covariance()).abs().max() < 0.06
