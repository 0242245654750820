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

from paris_p2p.records.run import slot_name

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


AUTOENCODER: Final = "autoencoder.safetensors"
TEXT_TOWER: Final = "text-encoder.safetensors"
"""The files that an import makes of the encoders, for the run's contents."""


def checkpoint_file(slot: int) -> str:
    """The file that an import makes of a slot's weights."""
    return f"{slot_name(slot).replace(' ', '-')}.safetensors"


def expert_folder(expert: int) -> str:
    return f"expert_{expert}"


def module_name(base: str, run_id: bytes) -> str:
    """A module's name in a folder: diffusers copies the modules of all folders into one."""
    return f"{base}_{run_id.hex()[:12]}"
