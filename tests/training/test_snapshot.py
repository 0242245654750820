from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.optim import AdamW

from paris_p2p.errors import BadContent
from paris_p2p.model.expert import Expert, build_expert
from paris_p2p.records.run import ExpertSpec
from paris_p2p.training.snapshot import (
    BETAS,
    MOMENT_BOUND,
    TrainingState,
    load_snapshot,
    save_snapshot,
)

from .jobs import EXPERT, LATENT_SHAPE, same_content

SAMPLES = 20
WIDER = ExpertSpec(hidden=64, depth=1, heads=2, patch=4, caption_width=16)


def a_state(
    slot: int = 0, spec: ExpertSpec = EXPERT, trained: bool = True
) -> TrainingState[Expert]:
    network, average = build_expert(spec, LATENT_SHAPE), build_expert(spec, LATENT_SHAPE)
    optimizer = AdamW(network.parameters())
    generator = Generator().manual_seed(3)
    state = TrainingState(slot, network, average, optimizer, generator, torch.arange(4))
    if trained:
        sum(p.square().sum() for p in network.parameters()).backward()  # type: ignore[union-attr]
        optimizer.step()
        state.step, state.images, state.updates = 12, 96, 1
    return state


@pytest.mark.parametrize("trained", [True, False])
def test_everything_comes_back(tmp_path: Path, trained: bool) -> None:
    saved, restored = a_state(trained=trained), a_state(trained=not trained)
    save_snapshot(tmp_path / "first", saved)
    load_snapshot(tmp_path / "first", restored, SAMPLES)
    save_snapshot(tmp_path / "second", restored)
    assert same_content(tmp_path / "first", tmp_path / "second")
    assert torch.equal(
        torch.rand(3, generator=saved.generator), torch.rand(3, generator=restored.generator)
    )
    assert (restored.step, restored.images) == (saved.step, saved.images)


def test_it_is_one_safetensors_file(tmp_path: Path) -> None:
    save_snapshot(tmp_path / "snapshot", a_state())
    with safe_open(tmp_path / "snapshot", framework="pt") as file:
        kinds = {name.split("/")[0] for name in file.keys()}  # noqa: SIM118
        assert kinds == {"network", "average", "moment", "square", "generator", "order"}
        assert file.metadata()["step"] == "12"


@pytest.mark.parametrize(
    "other", [a_state(slot=1), a_state(spec=WIDER)], ids=["another slot", "another size"]
)
def test_a_snapshot_of_something_else_is_refused(
    tmp_path: Path, other: TrainingState[Expert]
) -> None:
    save_snapshot(tmp_path / "snapshot", a_state())
    with pytest.raises(BadContent, match="cannot be resumed"):
        load_snapshot(tmp_path / "snapshot", other, SAMPLES)


@pytest.mark.parametrize("kept", [0, 5, 2000])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "snapshot"
    save_snapshot(path, a_state())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadContent, match="Delete it"):
        load_snapshot(path, a_state(), SAMPLES)


Tensors = dict[str, Tensor]
WEIGHT = "network/transformer.transformer_blocks.0.ff.net.2.weight"
MOMENT, SQUARE = WEIGHT.replace("network", "moment"), WEIGHT.replace("network", "square")


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: change(tensors[name]).contiguous()}


def generator_state(normal: float = 0.0) -> Callable[[Tensor], Tensor]:
    """Puts a cached normal number, to be drawn next, into a generator's state."""

    def put(state: Tensor) -> Tensor:
        state = state.clone()
        state[-32:-24] = torch.tensor([normal], dtype=torch.float64).view(torch.uint8)
        state[-16] = 1  # it is there
        return state

    return put


def seeded_with_zeros(state: Tensor) -> Tensor:
    """A valid Mersenne twister whose 624 words are all 0: it draws the same number for ever."""
    state = state.clone()
    state[24 : 24 + 8 * 624] = 0
    return state


HOSTILE: dict[str, Callable[[Tensors], Tensors]] = {
    "a weight that is not finite": changed(WEIGHT, lambda t: t * torch.inf),
    "an average that is not finite": changed(
        WEIGHT.replace("network", "average"), lambda t: t * torch.nan
    ),
    "a moment that is not finite": changed(MOMENT, lambda t: t * torch.nan),
    "a negative second moment": changed(SQUARE, lambda t: -t - 1),
    "a first moment beyond its second": changed(MOMENT, lambda t: t * 100 + 1),
    "a second moment of nothing": changed(SQUARE, torch.zeros_like),
    "a huge tensor": changed(WEIGHT, lambda t: torch.zeros(1 << 20)),
    "another type": changed(WEIGHT, lambda t: t.half()),
    "weights as integers": changed(WEIGHT, lambda t: t.long()),
    "a tensor more": lambda tensors: {**tensors, "network/extra": torch.zeros(1)},
    "a tensor less": lambda tensors: {n: t for n, t in tensors.items() if n != MOMENT},
    "a random state of another size": changed("generator", lambda t: t[:100]),
    "a random state of noise": changed("generator", torch.bitwise_not),
    "a random state without randomness": changed("generator", seeded_with_zeros),
    "a random state that draws no number": changed("generator", generator_state(torch.nan)),
    "a random state that draws a huge number": changed("generator", generator_state(1e30)),
    "a negative sample": changed("order", lambda t: t - 1),
    "a sample twice": changed("order", torch.zeros_like),
    "a sample that is not there": changed("order", lambda t: t + SAMPLES),
    "an order longer than the shard": changed("order", lambda t: torch.arange(1 << 20)),
    "an order of two dimensions": changed("order", lambda t: t.view(2, -1)),
    "an order that is no integer": changed("order", lambda t: t.float()),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_state_that_training_cannot_have_reached_is_refused_unused(
    tmp_path: Path, change: Callable[[Tensors], Tensors]
) -> None:
    honest, hostile = tmp_path / "honest", tmp_path / "hostile"
    save_snapshot(honest, a_state())
    save_file(change(load_file(honest)), hostile, metadata_of(honest))
    state = a_state(trained=False)
    save_snapshot(tmp_path / "before", state)
    with pytest.raises(BadContent, match="cannot be resumed"):
        load_snapshot(hostile, state, SAMPLES)
    save_snapshot(tmp_path / "after", state)
    assert same_content(tmp_path / "before", tmp_path / "after")


@pytest.mark.parametrize(
    "counters",
    [
        {"format": "paris-checkpoint/1"},
        {"slot": "1"},
        {"step": "-1"},
        {"step": "0"},  # fewer than the optimizer's own
        {"step": "9" * 4000},
        {"step": str(2**60)},
        {"images": "-5"},
        {"updates": "many"},
        {"updates": "0"},  # yet there are moments
    ],
)
def test_counters_that_do_not_fit_together_are_refused(
    tmp_path: Path, counters: dict[str, str]
) -> None:
    honest, hostile = tmp_path / "honest", tmp_path / "hostile"
    save_snapshot(honest, a_state())
    save_file(load_file(honest), hostile, metadata_of(honest) | counters)
    with pytest.raises(BadContent, match="cannot be resumed"):
        load_snapshot(hostile, a_state(), SAMPLES)


def test_a_header_too_long_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadContent, match="header of 1099511627776 bytes"):
        load_snapshot(tmp_path / "long", a_state(), SAMPLES)


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_a_missing_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadContent):
        load_snapshot(tmp_path / "none", a_state(), SAMPLES)


def test_no_gradients_bring_the_moments_beyond_their_bound() -> None:
    """The worst ones: the first moment aligned with what the second remembers of them."""
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = AdamW([parameter], lr=0.0, betas=BETAS)
    for ago in range(199, -1, -1):
        parameter.grad = torch.tensor([(BETAS[0] / BETAS[1]) ** ago])
        optimizer.step()
    moments = optimizer.state[parameter]
    ratio = float(moments["exp_avg"] / moments["exp_avg_sq"].sqrt())
    assert 0.9 * MOMENT_BOUND < ratio < MOMENT_BOUND
