from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from paris_p2p.errors import BadContent
from paris_p2p.model.objective import Text, draw_corruption, interpolate
from paris_p2p.model.router import PRESETS, Router, build_router, pooled

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


def test_a_width_without_room_for_positions_is_refused() -> None:
    with pytest.raises(BadContent, match="hidden: 126 is not a multiple of 4"):
        build_router(replace(PRESETS["tiny"], hidden=126, heads=1), EMOJI, clusters=5)


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


CLUSTERS = 3
WIDTH = 6


def a_reader(trust: float = 0.0) -> Router:
    """A reading router that takes any caption for a sure sign of cluster 0."""
    router = build_router(replace(PRESETS["tiny"], caption_width=WIDTH), EMOJI, CLUSTERS)
    assert router.reader is not None
    with torch.no_grad():
        for part, bias in (
            (router.reader.cluster, [9.0, 0.0, 0.0]),
            (router.reader.trust, [trust]),
        ):
            part[-1].weight.zero_()  # type: ignore[operator]
            part[-1].bias.copy_(torch.tensor(bias))  # type: ignore[operator]
    return router


def captions(*words: int) -> Text:
    """Captions of so many words each, between a start and an end token."""
    tokens = torch.randn(len(words), 8, WIDTH)
    return Text(tokens, torch.arange(8) < torch.tensor(words)[:, None] + 2)


def test_a_blind_router_has_the_tensors_it_always_had() -> None:
    blind, reading = build_router(PRESETS["tiny"], EMOJI, CLUSTERS), a_reader()
    assert not any(name.startswith("reader") for name in blind.state_dict())
    picture_head = [name for name in reading.state_dict() if not name.startswith("reader.")]
    assert picture_head == list(blind.state_dict())
    assert not blind.read(captions(3, 0)).any()


def test_a_caption_without_words_leaves_the_picture_its_say() -> None:
    evidence = a_reader(trust=20.0).read(captions(0, 4))
    assert torch.equal(evidence[0], torch.zeros(CLUSTERS))
    assert evidence[1, 0] > 1


@pytest.mark.parametrize(
    ("trust", "picture", "winner"),
    [(20.0, 4.0, 0), (-2.0, 4.0, 1), (-2.0, 0.2, 0)],
    ids=["a known caption", "an unknown one and a clear picture", "an unknown one and a vague one"],
)
def test_an_unknown_caption_does_not_overrule_a_clear_picture(
    trust: float, picture: float, winner: int
) -> None:
    logits = torch.tensor([[0.0, picture, 0.0]])
    posterior = (logits + a_reader(trust).read(captions(4))).softmax(-1)
    assert posterior.argmax() == winner


def test_evidence_is_the_ratio_as_far_as_it_is_trusted() -> None:
    router, text = a_reader(), captions(2, 5)
    assert router.reader is not None
    with torch.no_grad():
        router.reader.prior.copy_(torch.tensor([1.0, 0.0, 0.0]))
    ratio = torch.tensor([9.0, 0.0, 0.0]).softmax(-1) / router.reader.prior.softmax(-1)
    expected = (0.5 * ratio + 0.5).log().expand(2, -1)
    assert torch.allclose(router.read(text), expected, atol=1e-5)


def test_padding_does_not_change_what_is_read() -> None:
    text = captions(3)
    longer = Text(torch.cat([text.tokens, torch.randn(1, 4, WIDTH)], 1), text.mask.new_zeros(1, 12))
    longer.mask[:, :8] = text.mask
    assert torch.allclose(pooled(longer), pooled(text))
