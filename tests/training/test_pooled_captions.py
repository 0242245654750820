from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.objective import Text
from paris_p2p.model.router import pooled
from paris_p2p.training.pooled_captions import (
    PooledByBatch,
    exchange_rarest,
    pool_captions,
    pooled_captions_of,
    token_counts,
)

from .jobs import RunFiles

START, END = 513, 514
CAPTIONS = torch.tensor(
    [
        [START, 40, 7, 8, END, 0, 0, 0],
        [START, 41, 7, END, 0, 0, 0, 0],
        [START, 40, 7, 8, END, 0, 0, 0],
        [START, END, 0, 0, 0, 0, 0, 0],
        [START, 7, 8, 9, 9, 42, 7, END],
    ]
)


@pytest.fixture
def encoder(run: RunFiles) -> TextEncoder:
    return load_text_encoder(run.text_encoder)


def exchanged(encoder: TextEncoder, seed: int = 0) -> Tensor:
    counts = token_counts(CAPTIONS, encoder)
    return exchange_rarest(CAPTIONS, counts, encoder, Generator().manual_seed(seed))


def test_the_rarest_word_is_exchanged_and_no_other_token(encoder: TextEncoder) -> None:
    changed = exchanged(encoder) != CAPTIONS
    assert changed.sum(dim=1).tolist() == [1, 1, 1, 0, 1]
    assert changed[1, 1]
    assert changed[4, 5]
    assert not changed[0, 2]


def test_an_exchanged_caption_still_starts_and_ends_where_it_did(encoder: TextEncoder) -> None:
    for seed in range(50):
        caption = exchanged(encoder, seed)
        assert torch.equal(encoder.mask(caption), encoder.mask(CAPTIONS))
        assert (caption == START).sum() == (caption == END).sum() == len(CAPTIONS)


def test_a_caption_is_pooled_as_a_sampler_reads_it(encoder: TextEncoder) -> None:
    captions = pool_captions(CAPTIONS[:, None].int(), encoder, exchanges=2)
    assert captions.known.shape == (4, encoder.width)
    assert captions.strange.shape == (2, 4, encoder.width)
    read = pooled(Text(encoder.encode(CAPTIONS), encoder.mask(CAPTIONS)))
    assert torch.allclose(captions[torch.arange(5)], read, atol=1e-6)
    assert not captions[torch.tensor([3])].any()


def test_the_same_captions_are_exchanged_alike_on_every_machine(encoder: TextEncoder) -> None:
    one, two = (pool_captions(CAPTIONS[:, None], encoder, exchanges=2) for _ in range(2))
    assert torch.equal(one.strange, two.strange)
    rows, generator = torch.arange(5), Generator().manual_seed(1)
    known, drawn = one.draw(rows, generator)
    assert torch.equal(known, one[rows])
    assert torch.equal(drawn, two.draw(rows, Generator().manual_seed(1))[1])
    assert (drawn != one[rows]).any(dim=1).tolist() == [True, True, True, False, True]


def test_each_alternative_of_an_image_is_drawn_about_as_often(encoder: TextEncoder) -> None:
    ids = torch.stack([CAPTIONS[:2], CAPTIONS[3:]])
    captions = pool_captions(ids, encoder, exchanges=1)
    assert captions.index.shape == (2, 2)
    rows = torch.zeros(400, dtype=torch.int64)
    known, _ = captions.draw(rows, Generator().manual_seed(0))
    first = (known == captions[rows]).all(dim=1)
    assert 150 < int(first.sum()) < 250
    other = captions.known[captions.index[0, 1]].expand_as(known)
    assert torch.equal(known[~first], other[~first])


def test_captions_that_do_not_fit_in_memory_are_pooled_when_they_are_drawn(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = CAPTIONS[:, None].to(torch.uint16)
    kept = pooled_captions_of(ids, encoder)
    monkeypatch.setattr("paris_p2p.training.pooled_captions.ENCODED_AT_MOST", 0)
    by_batch = pooled_captions_of(ids, encoder)
    assert isinstance(by_batch, PooledByBatch)
    rows = torch.tensor([3, 0, 4])
    known, strange = by_batch.draw(rows, Generator().manual_seed(0))
    assert torch.allclose(known, kept.draw(rows, Generator())[0], atol=1e-5)
    assert (strange != known).any(dim=1).tolist() == [False, True, True]
