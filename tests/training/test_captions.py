"""Captions that fit in memory are encoded once, and others by batch, to the same states."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.objective import Text, drop_captions
from paris_p2p.training.captions import (
    CaptionsByBatch,
    EncodedCaptions,
    captions_of,
    check_vocabulary,
)

from .jobs import RunFiles

START, END = 513, 514
CAPTIONS = torch.tensor(
    [
        [[START, 40, 7, 8, END, 0, 0, 0], [START, 40, END, 0, 0, 0, 0, 0]],
        [[START, END, 0, 0, 0, 0, 0, 0], [START, 41, 7, END, 0, 0, 0, 0]],
    ],
    dtype=torch.int32,
)


@pytest.fixture
def encoder(run: RunFiles) -> TextEncoder:
    return load_text_encoder(run.text_encoder)


def test_captions_encoded_by_batch_are_those_encoded_before_without_padding(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = captions_of(CAPTIONS.to(torch.uint16), encoder)
    monkeypatch.setattr("paris_p2p.training.captions.ENCODED_AT_MOST", 0)
    by_batch = captions_of(CAPTIONS.to(torch.uint16), encoder)
    assert isinstance(before, EncodedCaptions)
    assert isinstance(by_batch, CaptionsByBatch)
    rows = torch.tensor([1, 0, 1, 1, 0])
    lengths = set()
    for seed in range(8):
        whole, short = (
            captions.draw(rows, Generator().manual_seed(seed)) for captions in (before, by_batch)
        )
        assert torch.allclose(short.tokens, whole.trimmed().tokens, atol=1e-5)
        assert torch.equal(short.mask, whole.trimmed().mask)
        lengths.add(short.mask.shape[1])
    assert 5 in lengths


def test_a_dropped_caption_is_the_null_one_also_where_padding_is_cut(encoder: TextEncoder) -> None:
    text = CaptionsByBatch(CAPTIONS, encoder).draw(torch.tensor([0, 1]), Generator())
    ids = encoder.tokenize([""])
    null = Text(encoder.encode(ids), encoder.mask(ids))
    dropped = drop_captions(text, null, 1.0, Generator())
    assert dropped.mask.sum(dim=1).tolist() == [2, 2]
    assert torch.equal(dropped.tokens[0, :2], null.tokens[0, :2])


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint16])
def test_ids_outside_the_vocabulary_are_found_before_training(
    encoder: TextEncoder, dtype: torch.dtype
) -> None:
    ids = CAPTIONS.clone()
    ids[-1, -1, 1] = encoder.vocabulary
    with pytest.raises(BadContent, match="vocabulary"):
        check_vocabulary(ids.to(dtype), encoder)
    check_vocabulary(CAPTIONS.to(dtype), encoder)
