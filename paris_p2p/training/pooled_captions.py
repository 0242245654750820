"""Captions for a router that reads: pooled, as they are and with their rarest word exchanged.

A router is sure of every caption it was trained on, and as sure of one that it misunderstands. Its
trust must be learned on captions that neither it nor the text encoder knows. A caption whose rarest
token is replaced by a random one of the vocabulary stands for those: it names another concept than
its picture shows, or none, in a style that is still right.

Pooled captions take D numbers each, not a token matrix. Where even those do not fit in memory, each
batch is encoded when it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Generator, Tensor

from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.router import pooled
from paris_p2p.records.device_fit import ENCODED_AT_MOST
from paris_p2p.training.captions import (
    ENCODED_AT_ONCE,
    FLOAT,
    LOOKED_AT_ONCE,
    check_vocabulary,
    distinct_captions,
    draw_alternatives,
    encoded,
    shortest,
)
from paris_p2p.training.phases import Tell, untold

EXCHANGES: Final = 4
"""Number of exchanged forms of each caption that are kept."""

EXCHANGE_SEED: Final = 20_251_125


class PooledCaptions(Protocol):
    """The pooled captions of N samples, A alternatives each."""

    def draw(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One caption of each sample, as it is and in an exchanged form, (B, D) each."""


@dataclass(frozen=True)
class KeptPooledCaptions:
    """Distinct captions `known` (U, D), their exchanged forms, and the captions of each sample.

    `strange` is (E, U, D) and may have no forms; `index` is (N, A).
    """

    known: Tensor
    strange: Tensor
    index: Tensor

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The first caption (B, D) of each of some samples."""
        return self.known[self.index[rows, 0]]

    def draw(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        drawn = draw_alternatives(self.index[rows], generator)
        form = torch.randint(len(self.strange), rows.shape, generator=generator)
        return self.known[drawn], self.strange[form, drawn]


@dataclass(frozen=True)
class PooledByBatch:
    """Captions `ids` (N, A, L), encoded when they are drawn; `counts` (V,) says what is rare."""

    ids: Tensor
    counts: Tensor
    encoder: TextEncoder

    def draw(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        known = draw_alternatives(self.ids[rows].long(), generator)
        strange = exchange_rarest(known, self.counts, self.encoder, generator)
        return _pooled(known, self.encoder), _pooled(strange, self.encoder)


def pooled_captions_of(ids: Tensor, encoder: TextEncoder, tell: Tell = untold) -> PooledCaptions:
    """Captions (N, A, L) with exchanged forms, pooled now where they fit in memory.

    BadContent for an id outside the encoder's vocabulary.
    """
    check_vocabulary(ids, encoder)
    captions = ids.shape[0] * ids.shape[1]
    if captions * (1 + EXCHANGES) * encoder.width * FLOAT > ENCODED_AT_MOST:
        return PooledByBatch(ids, token_counts(ids, encoder), encoder)
    return pool_captions(ids, encoder, EXCHANGES, tell)


def pool_captions(
    ids: Tensor, encoder: TextEncoder, exchanges: int = 0, tell: Tell = untold
) -> KeptPooledCaptions:
    """Captions (N, A, L) as token ids: each distinct one is encoded, and `exchanges` forms of it.

    The same captions give the same forms on every machine.
    """
    distinct, index = distinct_captions(ids)
    counts = token_counts(distinct, encoder)
    known = _pooled(distinct, encoder)
    generator = Generator().manual_seed(EXCHANGE_SEED)
    strange = []
    for form in range(exchanges):
        tell("encoding captions", 1 + form, 1 + exchanges)
        exchanged = exchange_rarest(distinct, counts, encoder, generator)
        strange.append(_pooled(exchanged, encoder))
    return KeptPooledCaptions(known, torch.stack(strange) if strange else known[None, :0], index)


def token_counts(ids: Tensor, encoder: TextEncoder) -> Tensor:
    """How often captions (..., L) hold each token of the vocabulary between start and end."""
    counts = torch.zeros(encoder.vocabulary, dtype=torch.int64)
    for part in torch.split(ids.flatten(0, -2), LOOKED_AT_ONCE):
        whole = part.long()
        counts += torch.bincount(whole[_words(whole, encoder)], minlength=encoder.vocabulary)
    return counts


def exchange_rarest(
    ids: Tensor, counts: Tensor, encoder: TextEncoder, generator: Generator
) -> Tensor:
    """Captions (U, L) with the rarest word of each replaced by a random one of the vocabulary.

    Rare is what `counts` (V,) counts least often. Start and end stay.
    """
    words = _words(ids, encoder)
    rarest = counts[ids].masked_fill(~words, int(counts.sum()) + 1).argmin(dim=1, keepdim=True)
    end = _end(ids, encoder)
    frame = torch.cat([ids[:, 0], ids.gather(1, end).flatten()])
    vocabulary = torch.arange(encoder.vocabulary)
    choice = vocabulary[~torch.isin(vocabulary, frame)]
    drawn = choice[torch.randint(len(choice), rarest.shape, generator=generator)]
    exchanged = ids.scatter(1, rarest, drawn)
    return torch.where(words.any(dim=1, keepdim=True), exchanged, ids)


def _words(ids: Tensor, encoder: TextEncoder) -> Tensor:
    """Bool (U, L), true for the tokens between start and end."""
    places = torch.arange(ids.shape[1])
    return (places > 0) & (places < _end(ids, encoder))


def _end(ids: Tensor, encoder: TextEncoder) -> Tensor:
    """The place (U, 1) of each caption's end token."""
    return encoder.mask(ids).sum(dim=1, keepdim=True) - 1


def _pooled(ids: Tensor, encoder: TextEncoder) -> Tensor:
    """Captions (U, L) pooled, (U, D), on the CPU."""
    parts = [encoded(shortest(p, encoder), encoder) for p in torch.split(ids, ENCODED_AT_ONCE)]
    return torch.cat([pooled(part).cpu() for part in parts])
