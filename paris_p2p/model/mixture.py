"""The mixture of experts: router logits -> expert weights -> one velocity.

Decentralised flow matching (DDM, arXiv 2501.05450, equation 6):
v(x_t, t) = sum_k p(k | x_t, t) v_k(x_t, t). The full sum is exact; the sparse strategies keep the
likeliest experts and renormalise, which is cheaper and was better in Paris (arXiv 2510.03434).
The sparse ones also drop experts whose share cannot matter, so that they need not be fetched.

A mixture can be sampled another way: draw a cluster from p(k | c), then follow its expert alone.
`once` does so with the likeliest cluster, and suits a router that reads the caption c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from paris_p2p.errors import NotAvailable, UsageProblem

THRESHOLD: Final = 0.1
"""`threshold` keeps the experts with at least this much of the probability."""

NEGLIGIBLE: Final = 0.01
"""Sparse strategies drop the least likely experts that have less than this much together."""

ExpertVelocity = Callable[[int, Tensor], Tensor]
"""(expert, rows (M,)) -> that expert's velocity (M, C, h, w) for those rows of the batch."""


@dataclass(frozen=True)
class Strategy:
    """Selects at most `most` experts for a sample, each with a probability of at least `least`.

    The smallest of these are dropped as long as they have less than `negligible` together. With
    `once` the first decision holds to the end.
    """

    name: str
    most: int | None = None
    least: float = 0.0
    negligible: float = NEGLIGIBLE
    once: bool = False

    @classmethod
    def named(cls, name: str, k: int = 2) -> Strategy:
        """The strategy called `name`; `k` is for "top-k"."""
        if k < 1:
            raise UsageProblem(f"top-k with k = {k} selects no expert", "use k of 1 or more")
        strategies = {
            "once": cls(name, most=1, once=True),
            "top-1": cls(name, most=1),
            "top-2": cls(name, most=2),
            "top-k": cls(name, most=k),
            "threshold": cls(name, least=THRESHOLD),
            "full": cls(name, negligible=0.0),
        }
        if name not in strategies:
            raise UsageProblem(f"no strategy is called {name!r}", "use " + ", ".join(strategies))
        return strategies[name]


@dataclass(frozen=True)
class ExpertWeights:
    """The experts that answer, and the probability lost with missing experts.

    `weights` (N, K) sums to 1 over the experts chosen for each sample; `lost_mass` (N,) is the
    probability the router gave to experts that are not available.
    """

    weights: Tensor
    lost_mass: Tensor

    def called(self) -> list[int]:
        """The experts that at least one sample needs, in ascending order."""
        return [int(expert) for expert in self.weights.any(dim=0).nonzero().flatten()]


def expert_weights(logits: Tensor, strategy: Strategy, available: Tensor) -> ExpertWeights:
    """Weights from router `logits` (N, K), with experts missing from `available` (K,) masked.

    NotAvailable when no expert is available.
    """
    if not available.any():
        raise NotAvailable("no expert of this run is available", "wait for a peer to publish one")
    probabilities = logits.double().softmax(dim=-1)
    present = logits.double().masked_fill(~available, -torch.inf).softmax(dim=-1)
    kept = _without_least(present * _chosen(present, strategy), strategy.negligible)
    return ExpertWeights(
        weights=(kept / kept.sum(dim=-1, keepdim=True)).to(logits.dtype),
        lost_mass=(probabilities * ~available).sum(dim=-1).to(logits.dtype),
    )


def _chosen(probabilities: Tensor, strategy: Strategy) -> Tensor:
    """The selected experts (N, K): always the likeliest; ties go to the lower index."""
    ranks = probabilities.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    most = strategy.most or probabilities.shape[-1]
    worth = (probabilities >= strategy.least) | (ranks == 0)
    return worth & (ranks < most) & (probabilities > 0)


def _without_least(shares: Tensor, negligible: float) -> Tensor:
    """Shares (N, K) without the smallest, which have less than `negligible` of the sum together."""
    ascending, order = shares.sort(dim=-1, stable=True)
    running = ascending.cumsum(dim=-1)
    ascending = ascending.masked_fill(running < negligible * running[:, -1:], 0.0)
    return torch.zeros_like(shares).scatter(-1, order, ascending)


def mixture_velocity(weights: Tensor, velocity_of: ExpertVelocity, like: Tensor) -> Tensor:
    """sum_k weights[:, k] v_k, with the shape, type and device of `like` (N, C, h, w).

    Each expert is called once, for exactly the samples that need it.
    """
    mixed = torch.zeros_like(like)
    for expert in range(weights.shape[-1]):
        rows = weights[:, expert].nonzero().flatten()
        if len(rows):
            share = weights[rows, expert].view(-1, *[1] * (like.ndim - 1)).to(like.dtype)
            mixed.index_add_(0, rows, share * velocity_of(expert, rows).to(like.dtype))
    return mixed
