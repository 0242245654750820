"""Captions for a router that reads: pooled, as they are and with their rarest word exchanged.

A router is sure of every caption it was trained on, and as sure of one that it misunderstands. Its
trust must be learned on captions that neither it nor the text encoder knows. A caption whose rarest
token is replaced by a random one of the vocabulary stands for those: it names another concept than
its picture shows, or none, in a style that is still right.

Only pooled captions are kept: D numbers for each, not a token matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Generator, Tensor

from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.objective import Text
from paris_p2p.model.router import pooled

EXCHANGES: Final = 4
"""Number of exchanged forms of each caption."""

EXCHANGE_SEED: Final = 20_251_125
ENCODED_AT_ONCE: Final = 64


@dataclass(frozen=True)
class PooledCaptions:
    """Distinct captions `known` (U, D), their exchanged forms, and the caption of each sample.

    `strange` is (E, U, D) and may have no forms; `index` is (N, A).
    """

    known: Tensor
    strange: Tensor
    index: Tensor

    def __getitem__(self, rows: Tensor) -> Tensor:
        """The first caption (B, D) of each of some samples."""
        return self.known[self.index[rows, 0]]

    def draw(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """One of the captions of each sample, as it is and in an exchanged form, (B, D) each."""
        drawn = draw_alternatives(self.index[rows], generator)
        form = torch.randint(len(self.strange), rows.shape, generator=generator)
        return self.known[drawn], self.strange[form, drawn]


def distinct_captions(ids: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct captions (U, L) among (N, A, L) token ids, and their index (N, A)."""
    distinct, index = torch.unique(ids.long().flatten(0, 1), dim=0, return_inverse=True)
    return distinct, index.view(ids.shape[:2])


def draw_alternatives(index: Tensor, generator: Generator) -> Tensor:
    """One of the A entries of each row of (B, A), each equally likely."""
    choice = torch.randint(index.shape[1], (len(index), 1), generator=generator)
    return index.gather(1, choice)[:, 0]


def pool_captions(ids: Tensor, encoder: TextEncoder, exchanges: int = 0) -> PooledCaptions:
    """Captions (N, A, L) as token ids: each distinct one is encoded, and `exchanges` forms of it.

    The same captions give the same forms on every machine.
    """
    distinct, index = distinct_captions(ids)
    known = _encoded(distinct, encoder)
    generator = Generator().manual_seed(EXCHANGE_SEED)
    strange = [
        _encoded(exchange_rarest(distinct, encoder, generator), encoder) for _ in range(exchanges)
    ]
    return PooledCaptions(known, torch.stack(strange) if strange else known[None, :0], index)


def exchange_rarest(ids: Tensor, encoder: TextEncoder, generator: Generator) -> Tensor:
    """Captions (U, L) with the rarest word of each replaced by a random one of the vocabulary.

    Rare is what these captions together hold least often. Start and end stay.
    """
    mask = encoder.mask(ids)
    end = mask.sum(dim=1, keepdim=True) - 1
    places = torch.arange(ids.shape[1])
    words = mask & (places > 0) & (places < end)
    counts = torch.bincount(ids[words], minlength=encoder.vocabulary)
    rarest = counts[ids].masked_fill(~words, ids.numel()).argmin(dim=1, keepdim=True)
    frame = torch.cat([ids[:, 0], ids.gather(1, end).flatten()])
    vocabulary = torch.arange(encoder.vocabulary)
    choice = vocabulary[~torch.isin(vocabulary, frame)]
    drawn = choice[torch.randint(len(choice), rarest.shape, generator=generator)]
    exchanged = ids.scatter(1, rarest, drawn)
    return torch.where(words.any(dim=1, keepdim=True), exchanged, ids)


@torch.no_grad()
def _encoded(ids: Tensor, encoder: TextEncoder) -> Tensor:
    parts = [ids[start : start + ENCODED_AT_ONCE] for start in range(0, len(ids), ENCODED_AT_ONCE)]
    return torch.cat([pooled(Text(encoder.encode(p).float(), encoder.mask(p))) for p in parts])
