"""What all training shares: noised latents and captions.

The path is the straight one of rectified flow (arXiv 2209.03003): x_t = (1 - t) x0 + t eps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

VelocityField = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x (N, C, h, w), t (N,), text (N, L, D), mask (N, L)) -> velocity (N, C, h, w)."""

Classifier = Callable[[Tensor, Tensor], Tensor]
"""(x (N, C, h, w), t (N,)) -> logits (N, K)."""

Reader = Callable[["Text"], Tensor]
"""captions (N) -> the evidence (N, K) in them, added to a Classifier's logits."""

DrawTimes = Callable[[int, Generator], Tensor]
"""(count N, generator) -> random times (N,) in [0, 1], on the CPU."""


@dataclass(frozen=True)
class Text:
    """Captions as networks read them: `tokens` (N, L, D) and `mask` (N, L), 1 for a token."""

    tokens: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Tensor | slice) -> Text:
        return Text(self.tokens[rows], self.mask[rows])

    def to(self, device: torch.device) -> Text:
        """The same captions on `device`."""
        return Text(self.tokens.to(device), self.mask.to(device))

    def trimmed(self) -> Text:
        """Without the tokens that are padding in every caption: those are masked, but cost."""
        longest = int(self.mask.any(dim=0).nonzero().max()) + 1
        return Text(self.tokens[:, :longest], self.mask[:, :longest])

    def repeat(self, count: int) -> Text:
        """One caption (1, L, D) as `count` equal ones, without copying."""
        return Text(self.tokens.expand(count, -1, -1), self.mask.expand(count, -1))


@dataclass(frozen=True)
class Corruption:
    """The noise added to each sample of a batch: times `t` (N,) and noise `eps` (N, C, h, w)."""

    t: Tensor
    eps: Tensor

    def to(self, device: torch.device) -> Corruption:
        """The same on `device`."""
        return Corruption(self.t.to(device), self.eps.to(device))


def uniform_times(count: int, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator)


def draw_corruption(
    x0: Tensor, generator: Generator, draw_times: DrawTimes = uniform_times
) -> Corruption:
    """Times and standard normal noise for `x0` (N, C, h, w).

    Both are drawn on the CPU, so that a generator gives the same numbers for every device.
    """
    t = draw_times(len(x0), generator)
    return Corruption(t, torch.randn(x0.shape, generator=generator))


def interpolate(x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - t) x0 + t eps, for `x0`, `eps` (N, C, h, w) and `t` (N,)."""
    t = t.view(-1, *[1] * (x0.ndim - 1))
    return (1 - t) * x0 + t * eps


def drop_captions(text: Text, null: Text, probability: float, generator: Generator) -> Text:
    """`text` with captions replaced by the null caption (1, L, D) at `probability`.

    So one network learns to answer with and without a caption (arXiv 2207.12598). `text` may lack
    the padding that all of it has.
    """
    dropped = torch.rand(len(text), generator=generator) < probability
    dropped, null = dropped.to(text.tokens.device), null.to(text.tokens.device)
    length = text.mask.shape[1]
    return Text(
        torch.where(dropped[:, None, None], null.tokens[:, :length], text.tokens),
        torch.where(dropped[:, None], null.mask[:, :length], text.mask),
    )
