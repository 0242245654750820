"""The names in a pipeline folder.

    model_index.json    the components, and what each expert predicts ("mixture")
    README.md           the model card
    provenance.json     the run, and the heads that the networks come from
    expert_0/ ...       diffusers' PixArtTransformer2DModel, one for each expert
    router/             the router, with its module
    vae/                diffusers' AutoencoderTiny or AutoencoderKL
    text_encoder/       a tower with its module and tokenizer, or transformers' CLIPTextModel
    tokenizer/          transformers' CLIPTokenizer, beside such a text encoder
    scheduler/          diffusers' scheduler of the default sampler

The published Paris repository has the same folders.
"""

from __future__ import annotations

from typing import Final

INDEX: Final = "model_index.json"
CARD: Final = "README.md"
PROVENANCE: Final = "provenance.json"
CONFIG: Final = "config.json"

ROUTER: Final = "router"
VAE: Final = "vae"
TEXT_ENCODER: Final = "text_encoder"
TOKENIZER: Final = "tokenizer"
SCHEDULER: Final = "scheduler"
MIXTURE: Final = "mixture"

DIFFUSERS_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
TRANSFORMERS_WEIGHTS: Final = "model.safetensors"
PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of files that run code when they are loaded."""


def expert_folder(expert: int) -> str:
    return f"expert_{expert}"


def module_name(base: str, run_id: bytes) -> str:
    """A module's name in a folder: diffusers copies the modules of all folders into one."""
    return f"{base}_{run_id.hex()[:12]}"
