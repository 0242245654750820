"""A mixture of Gaussians: data whose velocities and posteriors are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """K clusters of axis-aligned Gaussians in D channels of a 1x1 latent.

    `shares` (K,) sum to 1; `means` and `variances` are (K, D).
    """

    shares: Tensor
    means: Tensor
    variances: Tensor

    @classmethod
    def example(cls, dtype: torch.dtype = torch.float64) -> Gaussians:
        """Three clusters, unequal in share, place and width, that overlap."""
        return cls(
            shares=torch.tensor([0.5, 0.3, 0.2], dtype=dtype),
            means=torch.tensor([[-1.5, 0.5], [1.0, 1.0], [0.5, -1.5]], dtype=dtype),
            variances=torch.tensor([[0.3, 0.1], [0.05, 0.4], [0.2, 0.2]], dtype=dtype),
        )

    @property
    def clusters(self) -> int:
        return len(self.shares)

    def velocity(self, cluster: int, x: Tensor, t: Tensor) -> Tensor:
        """E[eps - x0 | x_t = x] within one cluster, (N, D, 1, 1): linear regression."""
        a, b = (1 - t)[:, None], t[:, None]
        mean, variance = self.means[cluster], self.variances[cluster]
        slope = (b - a * variance) / (a**2 * variance + b**2)
        residual = x.flatten(1) - a * mean
        return (slope * residual - mean).view_as(x)

    def noise(self, cluster: int, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[eps | alpha x0 + sigma eps = x] within one cluster, (N, D, 1, 1)."""
        a, b = alpha[:, None], sigma[:, None]
        mean, variance = self.means[cluster], self.variances[cluster]
        return (b / (a**2 * variance + b**2) * (x.flatten(1) - a * mean)).view_as(x)

    def logits(self, x: Tensor, t: Tensor) -> Tensor:
        """log p(k, x_t = x) (N, K): the exact router."""
        a, b = (1 - t)[:, None, None], t[:, None, None]
        variance = a**2 * self.variances + b**2  # (N, K, D)
        distance = (x.flatten(1)[:, None] - a * self.means) ** 2 / variance
        return self.shares.log() - 0.5 * (distance + variance.log()).sum(-1)

    def mixture_velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """The whole mixture's velocity (N, D, 1, 1), by way of its clusters, at t = 1 too."""
        shares = self.logits(x, t).softmax(-1)
        velocities = [self.velocity(cluster, x, t) for cluster in range(self.clusters)]
        return torch.einsum("nk,kndhw->ndhw", shares, torch.stack(velocities))

    def marginal_velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """The whole mixture's velocity (N, D, 1, 1), by way of its score and not of its clusters.

        Tweedie: E[eps | x] = -t grad log p_t(x), then x0 from x = (1 - t) x0 + t eps.
        """
        x = x.detach().requires_grad_()
        (score,) = torch.autograd.grad(self.logits(x, t).logsumexp(-1).sum(), x)
        t = t.view(-1, 1, 1, 1)
        eps = -t * score
        return (eps - (x - t * eps) / (1 - t)).detach()

    def mean(self) -> Tensor:
        """(D,)"""
        return self.shares @ self.means

    def covariance(self) -> Tensor:
        """(D, D)"""
        centred = self.means - self.mean()
        between = (self.shares[:, None, None] * centred[:, :, None] * centred[:, None, :]).sum(0)
        return between + torch.diag(self.shares @ self.variances)
