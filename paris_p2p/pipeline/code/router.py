"""The router of this run: which expert suits a noisy latent, and which one suits a prompt.

A DiT with a learned CLS token gives logits for p(k | x_t, t). A router that reads adds the evidence
log(r p(k | c) / p(k) + 1 - r) in a prompt c, where r is how far the prompt is to be trusted.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import PatchEmbed, TimestepEmbedding, Timesteps
from torch import Tensor, nn
from torch.nn import functional

FREQUENCIES = 256
"""Number of sines and cosines in the time embedding."""

FRAME_TOKENS = 2
"""Tokens of a prompt without words: its start and its end."""


class Router(ModelMixin, ConfigMixin):
    """Logits (N, K) over the experts for latents of (`channels`, `side`, `side`).

    `caption_width` is the width of the text tokens that it reads; 0 for a blind router.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        clusters: int,
        channels: int,
        side: int,
        hidden: int,
        depth: int,
        heads: int,
        patch: int,
        caption_width: int = 0,
    ) -> None:
        super().__init__()
        self.patches = PatchEmbed(side, side, patch, channels, hidden)
        self.cls = nn.Parameter(torch.empty(1, 1, hidden))
        self.frequencies = Timesteps(FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(FREQUENCIES, hidden)
        self.blocks = nn.ModuleList(_Block(hidden, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden, eps=1e-6)
        self.head = nn.Linear(hidden, clusters)
        self.reader = _Reader(caption_width, 2 * hidden, clusters) if caption_width else None

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits at `x` (N, C, h, w) and time `t` (N,) in [0, 1], where 1 is noise."""
        time = self.time(self.frequencies(t * 1000).to(x.dtype))
        tokens = self.patches(x)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1).to(tokens.dtype), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, time)
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits

    def read(self, tokens: Tensor, mask: Tensor) -> Tensor | float:
        """The evidence (N, K) in prompts, to be added to the logits; 0 from a blind router."""
        if self.reader is None:
            return 0.0
        evidence: Tensor = self.reader(_pooled(tokens, mask.to(tokens.dtype)))
        return evidence


class _Reader(nn.Module):
    def __init__(self, width: int, hidden: int, clusters: int) -> None:
        super().__init__()
        self.prior = nn.Parameter(torch.zeros(clusters))
        self.cluster = _perceptron(width, hidden, clusters)
        self.trust = _perceptron(width, hidden, 1)

    def forward(self, prompts: Tensor) -> Tensor:
        ratio = self.cluster(prompts).log_softmax(-1) - self.prior.log_softmax(-1)
        trust = self.trust(prompts)
        known, unknown = functional.logsigmoid(trust), functional.logsigmoid(-trust)
        evidence = torch.logaddexp(known + ratio, unknown)
        return torch.where(prompts.any(dim=-1, keepdim=True), evidence, 0.0)


def _perceptron(width: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )


def _pooled(tokens: Tensor, mask: Tensor) -> Tensor:
    """Prompts (N, D): the mean of each one's tokens, and 0 for a prompt without words."""
    count = mask.sum(dim=1, keepdim=True)
    mean = (tokens * mask[..., None]).sum(dim=1) / count
    return mean.masked_fill(count <= FRAME_TOKENS, 0.0)


class _Block(nn.Module):
    """DiT's block with adaLN-Zero."""

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
        modulation = self.modulation(functional.silu(time))[:, None]
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation.chunk(6, dim=-1)
        tokens = tokens + gate * self._attend(self.norm(tokens) * (1 + scale) + shift)
        changed: Tensor = self.mlp(self.norm(tokens) * (1 + mlp_scale) + mlp_shift)
        return tokens + mlp_gate * changed

    def _attend(self, tokens: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        attended: Tensor = self.attended(mixed.transpose(1, 2).flatten(2))
        return attended
