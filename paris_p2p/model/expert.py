"""An expert: the network of one cluster, a text-conditioned diffusion transformer.

It predicts a velocity or the noise, as its objective says (`expert_objectives`).

The network is `diffusers.PixArtTransformer2DModel` (PixArt-alpha, arXiv 2310.00426): AdaLN-Single,
self-attention, cross-attention on text tokens, MLP x4. Its tensors are published under diffusers'
own names, so a checkpoint of an expert loads in the ecosystem's tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch import Tensor, nn

from paris_p2p.errors import BadContent
from paris_p2p.model.light_diffusers import PixArtTransformer2DModel
from paris_p2p.records.run import ExpertSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

LatentShape = tuple[int, int, int]
"""Channels, height and width of one latent: (C, h, w)."""

TIME_SCALE: Final = 1000.0
"""Networks get 1000 t, the range that their sinusoidal time embedding was made for."""

PRESETS: Final[Mapping[str, ExpertSpec]] = {
    "tiny": ExpertSpec(hidden=128, depth=4, heads=4, patch=2, caption_width=128),
    "S/2": ExpertSpec(hidden=384, depth=12, heads=6, patch=2, caption_width=768),
    "B/2": ExpertSpec(hidden=768, depth=12, heads=12, patch=2, caption_width=768),
    "L/2": ExpertSpec(hidden=1024, depth=24, heads=16, patch=2, caption_width=768),
    "XL/2": ExpertSpec(hidden=1152, depth=28, heads=16, patch=2, caption_width=768),
}
"""DiT's family (arXiv 2212.09748, table 1) on CLIP ViT-L/14 text, and `tiny` for the emoji run."""


class Expert(nn.Module):
    """The prediction of one cluster's objective from (x, time, text)."""

    def __init__(self, spec: ExpertSpec, latent_shape: LatentShape) -> None:
        """`latent_shape` must be square and divisible by the patch; BadContent otherwise."""
        super().__init__()
        channels, side = check_latent_shape(latent_shape, spec.patch)
        check_width(spec.hidden)
        self.transformer = PixArtTransformer2DModel(
            num_attention_heads=spec.heads,
            attention_head_dim=spec.hidden // spec.heads,
            in_channels=channels,
            out_channels=channels,
            num_layers=spec.depth,
            cross_attention_dim=spec.hidden,
            caption_channels=spec.caption_width,
            sample_size=side,
            patch_size=spec.patch,
            use_additional_conditions=False,
        )
        _initialise_like_dit(self.transformer)

    @property
    def core(self) -> nn.Module:
        """The module whose tensors are published: diffusers' own names, no prefix."""
        core: nn.Module = self.transformer
        return core

    def forward(self, x: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """The prediction (N, C, h, w) at `x` (N, C, h, w) and time `t` (N,) in [0, 1].

        `text` (N, L, D) holds text tokens; `mask` (N, L) is 1 for a token and 0 for padding.
        """
        prediction: Tensor = self.transformer(
            x,
            encoder_hidden_states=text,
            timestep=t * TIME_SCALE,
            encoder_attention_mask=mask.to(x.dtype),
            return_dict=False,
        )[0]
        return prediction


def build_expert(spec: ExpertSpec, latent_shape: LatentShape) -> Expert:
    """A new expert with fresh weights, drawn from torch's global generator."""
    return Expert(spec, latent_shape)


def check_latent_shape(latent_shape: LatentShape, patch: int) -> tuple[int, int]:
    """(channels, side) of a square latent that divides into patches; BadContent otherwise."""
    channels, height, width = latent_shape
    if height != width or height % patch:
        raise BadContent(
            f"latents of {height}x{width} do not divide into square patches of {patch}",
            "use square latents and a patch size that divides their side",
        )
    return channels, height


def check_width(hidden: int) -> None:
    """BadContent unless positions have a sine and a cosine for each direction in this width."""
    if hidden % 4:
        raise BadContent(f"hidden: {hidden} is not a multiple of 4")


def _initialise_like_dit(transformer: PixArtTransformer2DModel) -> None:
    """DiT's initialisation (arXiv 2212.09748, "adaLN-Zero"), on PixArt's AdaLN-Single.

    diffusers leaves torch's defaults and random modulation tables. Here linear layers are Xavier
    uniform with zero bias and the time embedding is normal with deviation 0.02. The modulation
    (the one linear and every block's table), the cross-attention outputs and the last projection
    are zero: every block starts as the identity and the first prediction is zero.
    """
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    patches = transformer.pos_embed.proj
    nn.init.xavier_uniform_(patches.weight.view(patches.weight.shape[0], -1))
    nn.init.zeros_(patches.bias)
    embedder = transformer.adaln_single.emb.timestep_embedder
    nn.init.normal_(embedder.linear_1.weight, std=0.02)
    nn.init.normal_(embedder.linear_2.weight, std=0.02)
    nn.init.zeros_(transformer.adaln_single.linear.weight)
    nn.init.zeros_(transformer.scale_shift_table)
    nn.init.zeros_(transformer.proj_out.weight)
    for block in transformer.transformer_blocks:
        nn.init.zeros_(block.scale_shift_table)
        nn.init.zeros_(block.attn2.to_out[0].weight)
