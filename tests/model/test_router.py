from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from paris_p2p.errors import BadContent
from paris_p2p.model.objective import draw_corruption, interpolate
from paris_p2p.model.router import PRESETS, build_router

EMOJI = (16, 8, 8)


@pytest.mark.parametrize(
    ("preset", "shape", "millions"),
    [("tiny", EMOJI, 0.95), ("S/2", (4, 32, 32), 32.3), ("B/2", (4, 32, 32), 128.7)],
)
def test_presets_have_the_size_they_promise(
    preset: str, shape: tuple[int, int, int], millions: float
) -> None:
    with torch.device("meta"):
        router = build_router(PRESETS[preset], shape, clusters=8)
    assert sum(p.numel() for p in router.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def test_the_first_guess_is_nearly_uniform() -> None:
    router = build_router(PRESETS["tiny"], EMOJI, clusters=5)
    probabilities = router(torch.randn(3, *EMOJI), torch.rand(3)).softmax(-1)
    assert probabilities.shape == (3, 5)
    assert (probabilities - 0.2).abs().max() < 0.2


def test_it_learns_to_tell_two_clusters_apart() -> None:
    router = build_router(PRESETS["tiny"], EMOJI, clusters=2)
    centres = torch.randn(2, *EMOJI)
    clusters = torch.arange(2).repeat(16)
    optimizer = torch.optim.AdamW(router.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        x0 = centres[clusters]
        corruption = draw_corruption(x0, generator)
        x_t = interpolate(x0, corruption.eps, corruption.t)
        loss = cross_entropy(router(x_t, corruption.t), clusters)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.6 * math.log(2)


def test_latents_must_divide_into_square_patches() -> None:
    with pytest.raises(BadContent, match="patches"):
        build_router(PRESETS["tiny"], (16, 8, 6), clusters=2)
