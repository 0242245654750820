"""The router predicts, from a noisy latent and its time, which cluster the latent came from.

A DiT (arXiv 2212.09748) with a learned CLS token and a linear head over the K clusters, without
text (Paris, arXiv 2510.03434, section 3). Trained with cross-entropy, its softmax is the posterior
p(k | x_t, t) that weighs the experts' velocities (DDM, arXiv 2501.05450).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from diffusers.models.embeddings import PatchEmbed, TimestepEmbedding, Timesteps
from torch import Tensor, nn
from torch.nn import functional

from paris_p2p.model.expert import TIME_SCALE, LatentShape, check_latent_shape
from paris_p2p.records.run import RouterSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

FREQUENCIES: Final = 256
"""Number of sines and cosines in the time embedding, as in DiT."""

PRESETS: Final[Mapping[str, RouterSpec]] = {
    "tiny": RouterSpec(hidden=128, depth=3, heads=4, patch=2),
    "S/2": RouterSpec(hidden=384, depth=12, heads=6, patch=2),
    "B/2": RouterSpec(hidden=768, depth=12, heads=12, patch=2),
}
"""`B/2` is the 129M-parameter router that Paris trains beside XL/2 experts."""


class Router(nn.Module):
    """Logits over the clusters for a noisy latent."""

    def __init__(self, spec: RouterSpec, latent_shape: LatentShape, clusters: int) -> None:
        """`latent_shape` must be square and divisible by the patch; BadContent otherwise."""
        super().__init__()
        channels, side = check_latent_shape(latent_shape, spec.patch)
        self.patches = PatchEmbed(side, side, spec.patch, channels, spec.hidden)
        self.cls = nn.Parameter(torch.empty(1, 1, spec.hidden))
        self.frequencies = Timesteps(FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(FREQUENCIES, spec.hidden)
        self.blocks = nn.ModuleList(_Block(spec.hidden, spec.heads) for _ in range(spec.depth))
        self.norm = nn.LayerNorm(spec.hidden, eps=1e-6)
        self.head = nn.Linear(spec.hidden, clusters)
        self._initialise()

    @property
    def core(self) -> nn.Module:
        """The module whose tensors are published: the router itself."""
        return self

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits (N, K) at `x` (N, C, h, w) and time `t` (N,) in [0, 1]."""
        time = self.time(self.frequencies(t * TIME_SCALE).to(x.dtype))  # (N, D)
        tokens = self.patches(x)  # (N, T, D)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1).to(tokens.dtype), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, time)
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits

    def _initialise(self) -> None:
        """Initialise like an expert: Xavier, small time embedding, zero modulation.

        The head is small and random. With a zero head no gradient would reach the modulation, and
        the CLS token would never see the image.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patches.proj.weight.flatten(1))
        nn.init.zeros_(self.patches.proj.bias)
        nn.init.normal_(self.cls, std=0.02)
        nn.init.normal_(self.time.linear_1.weight, std=0.02)
        nn.init.normal_(self.time.linear_2.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        for block in self.blocks:
            assert isinstance(block, _Block)
            nn.init.zeros_(block.modulation.weight)


class _Block(nn.Module):
    """DiT's block with adaLN-Zero: self-attention and an MLP, each scaled, shifted and gated."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attended = nn.Linear(hidden, hidden)
        self.mlp = nn.Sequential(
            nn.Linear(hidden, 4 * hidden),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * hidden, hidden),
        )
        self.modulation = nn.Linear(hidden, 6 * hidden)

    def forward(self, tokens: Tensor, time: Tensor) -> Tensor:
        """Tokens (N, T, D) and a time embedding (N, D) to tokens (N, T, D)."""
        modulation: Tensor = self.modulation(functional.silu(time))[:, None]  # (N, 1, 6 D)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation.chunk(6, dim=-1)
        tokens = tokens + gate * self._attend(self.norm(tokens) * (1 + scale) + shift)
        changed: Tensor = self.mlp(self.norm(tokens) * (1 + mlp_scale) + mlp_shift)
        return tokens + mlp_gate * changed

    def _attend(self, tokens: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (N, H, T, D / H)
            for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        attended: Tensor = self.attended(mixed.transpose(1, 2).flatten(2))
        return attended


def build_router(spec: RouterSpec, latent_shape: LatentShape, clusters: int) -> Router:
    """A new router with fresh weights, drawn from torch's global generator."""
    return Router(spec, latent_shape, clusters)
