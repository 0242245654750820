"""The router predicts which cluster a noisy latent came from, and may read the caption for it.

The picture head is a DiT (arXiv 2212.09748) with a learned CLS token and a linear head over the K
clusters, without text (Paris, arXiv 2510.03434, section 3). Trained with cross-entropy, its softmax
is the posterior p(k | x_t, t) that weighs the experts' velocities (DDM, arXiv 2501.05450).

A reading router multiplies this posterior by what the caption c says, once per prompt:

    p(k | x_t, t, c)  ~  p(k | x_t, t) (r p(k | c) / p(k) + 1 - r)

The trust r(c) is the probability that p(k | c) applies to this caption at all. It follows how
familiar the caption is, so a caption the router does not know cannot overrule a clear picture. A
caption without words has no trust: the router is then exactly the blind one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from paris_p2p.model.expert import TIME_SCALE, LatentShape, check_latent_shape, check_width
from paris_p2p.model.light_diffusers import PatchEmbed, TimestepEmbedding, Timesteps
from paris_p2p.model.objective import Text
from paris_p2p.records.run import RouterSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

FREQUENCIES: Final = 256
"""Number of sines and cosines in the time embedding, as in DiT."""

FRAME_TOKENS: Final = 2
"""Tokens of a caption without words: its start and its end."""

PRESETS: Final[Mapping[str, RouterSpec]] = {
    "tiny": RouterSpec(hidden=128, depth=3, heads=4, patch=2),
    "S/2": RouterSpec(hidden=384, depth=12, heads=6, patch=2),
    "B/2": RouterSpec(hidden=768, depth=12, heads=12, patch=2),
}
"""`B/2` is the 129M-parameter router that Paris trains beside XL/2 experts."""


class Router(nn.Module):
    """Logits over the clusters for a noisy latent, and the evidence in a caption."""

    def __init__(self, spec: RouterSpec, latent_shape: LatentShape, clusters: int) -> None:
        """`latent_shape` must be square and divisible by the patch; BadContent otherwise."""
        super().__init__()
        channels, side = check_latent_shape(latent_shape, spec.patch)
        check_width(spec.hidden)
        self.patches = PatchEmbed(side, side, spec.patch, channels, spec.hidden)
        self.cls = nn.Parameter(torch.empty(1, 1, spec.hidden))
        self.frequencies = Timesteps(FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(FREQUENCIES, spec.hidden)
        self.blocks = nn.ModuleList(_Block(spec.hidden, spec.heads) for _ in range(spec.depth))
        self.norm = nn.LayerNorm(spec.hidden, eps=1e-6)
        self.head = nn.Linear(spec.hidden, clusters)
        self.reader = CaptionReader(spec, clusters) if spec.caption_width else None
        self._initialise()

    @property
    def core(self) -> nn.Module:
        """The module whose tensors are published: the router itself."""
        return self

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits (N, K) of the picture head at `x` (N, C, h, w) and time `t` (N,) in [0, 1]."""
        time = self.time(self.frequencies(t * TIME_SCALE).to(x.dtype))  # (N, D)
        tokens = self.patches(x)  # (N, T, D)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1).to(tokens.dtype), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, time)
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits

    def read(self, text: Text) -> Tensor:
        """The evidence (N, K) in captions, to be added to the logits: 0 from a blind router."""
        if self.reader is None:
            return text.tokens.new_zeros(len(text), self.head.out_features)
        evidence: Tensor = self.reader(pooled(text))
        return evidence

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


class CaptionReader(nn.Module):
    """What a caption says about the cluster: p(k | c), and how far that is to be trusted."""

    def __init__(self, spec: RouterSpec, clusters: int) -> None:
        super().__init__()
        width, hidden = spec.caption_width, 2 * spec.hidden
        self.prior = nn.Parameter(torch.zeros(clusters))
        self.cluster = _perceptron(width, hidden, clusters)
        self.trust = _perceptron(width, hidden, 1)

    def forward(self, captions: Tensor) -> Tensor:
        """The evidence log(r p(k | c) / p(k) + 1 - r), (N, K), of `captions` (N, D); see `pooled`.

        It is 0 for a caption that is 0. Gradients reach the trust only.
        """
        with torch.no_grad():
            ratio = self.cluster(captions).log_softmax(-1) - self.prior.log_softmax(-1)
        trust = self.trust(captions)
        evidence = torch.logaddexp(
            functional.logsigmoid(trust) + ratio, functional.logsigmoid(-trust)
        )
        return torch.where(captions.any(dim=-1, keepdim=True), evidence, 0.0)


def _perceptron(width: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )


def pooled(text: Text) -> Tensor:
    """Captions (N, D): the mean of each one's tokens, and 0 for a caption without words."""
    mask = text.mask.to(text.tokens.dtype)
    mean = (text.tokens * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    wordless = mask.sum(dim=1, keepdim=True) <= FRAME_TOKENS
    return mean.masked_fill(wordless, 0.0)


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
