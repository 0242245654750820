"""The captions of a shard as training reads them: as many as fit in memory are encoded once.

A caption's states take L x D floats: 237 KB with CLIP ViT-L/14, where its token ids take 154 B. So
captions whose states would take more than ENCODED_AT_MOST together stay token ids, and each batch
is encoded when it is drawn, on the training device, without the padding that all of it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Generator, Tensor

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.objective import Text
from paris_p2p.records.device_fit import ENCODED_AT_MOST
from paris_p2p.training.phases import Tell, untold

ENCODED_AT_ONCE: Final = 64
LOOKED_AT_ONCE: Final = 65_536
FLOAT: Final = 4

LEAST_TOKENS: Final = 2
"""The start and the end of a caption: the null caption has no more."""


class Captions(Protocol):
    """The captions of N samples, A alternatives each."""

    def draw(self, rows: Tensor, generator: Generator) -> Text:
        """One of the captions of each sample in `rows` (B,), each equally likely."""


@dataclass(frozen=True)
class EncodedCaptions:
    """Distinct captions `text` (U, L, D), and the alternatives of each sample, `index` (N, A)."""

    text: Text
    index: Tensor

    def __getitem__(self, rows: Tensor) -> Text:
        """The first caption of each sample."""
        return self.text[self.index[rows, 0]]

    def draw(self, rows: Tensor, generator: Generator) -> Text:
        return self.text[draw_alternatives(self.index[rows], generator)]


@dataclass(frozen=True)
class CaptionsByBatch:
    """Captions `ids` (N, A, L), which may be memory-mapped, encoded when they are drawn."""

    ids: Tensor
    encoder: TextEncoder

    def draw(self, rows: Tensor, generator: Generator) -> Text:
        drawn = draw_alternatives(self.ids[rows].long(), generator)
        return encoded(shortest(drawn, self.encoder), self.encoder)


def captions_of(ids: Tensor, encoder: TextEncoder, tell: Tell = untold) -> Captions:
    """The captions (N, A, L), encoded now where their states fit in memory.

    BadContent for an id outside the encoder's vocabulary.
    """
    check_vocabulary(ids, encoder)
    if ids.numel() * encoder.width * FLOAT > ENCODED_AT_MOST:
        return CaptionsByBatch(ids, encoder)
    return encode_captions(ids, encoder, tell)


def encode_captions(ids: Tensor, encoder: TextEncoder, tell: Tell = untold) -> EncodedCaptions:
    """Captions (N, A, L) as token ids, each distinct one encoded once."""
    distinct, index = distinct_captions(ids)
    parts = []
    for part in torch.split(distinct, ENCODED_AT_ONCE):
        parts.append(encoded(part, encoder))
        tell("encoding captions", len(parts) * ENCODED_AT_ONCE, len(distinct))
    text = Text(torch.cat([p.tokens for p in parts]), torch.cat([p.mask for p in parts]))
    return EncodedCaptions(text.to(torch.device("cpu")), index)


def check_vocabulary(ids: Tensor, encoder: TextEncoder) -> None:
    """BadContent unless every id of (N, ...) is one of the encoder's."""
    for part in torch.split(ids, LOOKED_AT_ONCE) if ids.numel() else ():
        if int(part.int().max()) >= encoder.vocabulary:
            raise BadContent(f"token ids lie outside the vocabulary of {encoder.vocabulary}")


def distinct_captions(ids: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct captions (U, L) among (N, A, L) token ids, and their index (N, A)."""
    distinct, index = torch.unique(ids.long().flatten(0, 1), dim=0, return_inverse=True)
    return distinct, index.view(ids.shape[:2])


def draw_alternatives(choices: Tensor, generator: Generator) -> Tensor:
    """One of the A entries of each row of (B, A, ...), each equally likely."""
    rows = torch.arange(len(choices))
    return choices[rows, torch.randint(choices.shape[1], (len(rows),), generator=generator)]


def shortest(ids: Tensor, encoder: TextEncoder) -> Tensor:
    """Captions (B, L) without the padding that all of them have."""
    longest = int(encoder.mask(ids).sum(dim=1).max())
    return ids[:, : max(longest, LEAST_TOKENS)]


@torch.no_grad()
def encoded(ids: Tensor, encoder: TextEncoder) -> Text:
    """Captions (B, L) on the encoder's device."""
    ids = ids.to(encoder.positional_embedding.device)
    return Text(encoder.encode(ids).float(), encoder.mask(ids))
