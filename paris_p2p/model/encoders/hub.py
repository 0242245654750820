"""Published encoders, from a hub or a local copy; weights are read from safetensors only."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import open_clip
import safetensors.torch
from open_clip.tokenizer import SimpleTokenizer

from paris_p2p.errors import BadContent, NotAvailable, extra
from paris_p2p.model.encoders.autoencoder_kl import KLAutoencoder
from paris_p2p.model.encoders.towers import ImageEncoder, TextEncoder

SD_VAE_SCALING = 0.18215
"""Stable Diffusion's factor, which gives its latents unit std."""
SD_VAE_PX = 256
"""Side of the images that a run with its autoencoder is trained on."""

CLIP_WEIGHTS = "open_clip_model.safetensors"
LOCAL_DIR = "local-dir:"
TIMM = "timm:"


def load_hub_autoencoder(name_or_dir: str) -> KLAutoencoder:
    """Load a published `AutoencoderKL` (`stabilityai/sd-vae-ft-mse`) or a local copy of one.

    Raises `NotAvailable` when neither the hub nor the disk has it in safetensors.
    """
    from diffusers import AutoencoderKL  # with its loaders, which take a second to import

    try:
        body = AutoencoderKL.from_pretrained(name_or_dir, use_safetensors=True)
    except OSError as error:
        raise _not_had(name_or_dir) from error
    return KLAutoencoder(body, SD_VAE_SCALING, SD_VAE_PX).eval().requires_grad_(False)


def load_hub_text_encoder(name: str) -> TextEncoder:
    """The text tower of a published CLIP: see `load_hub_clip` for names."""
    clip, tokenizer = load_hub_clip(name)
    return TextEncoder(clip, tokenizer)


def load_hub_clip(name: str) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """A published CLIP by its name in open_clip, with weights from safetensors only.

    `ViT-L-14/openai` is a model and its pretrained tag, from the hub. `ViT-L-14/FILE.safetensors`
    takes the weights from a file. `local-dir:FOLDER` is a folder with `open_clip_config.json` and
    `open_clip_model.safetensors`. Raises `BadContent` for any other name, `NotAvailable` when the
    hub cannot be reached.
    """
    if name.startswith(LOCAL_DIR):
        folder = Path(name.removeprefix(LOCAL_DIR))
        if not (folder / CLIP_WEIGHTS).is_file():
            raise BadContent(f"{folder} has no {CLIP_WEIGHTS}")
        clip = open_clip.create_model(name, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    else:
        model, _, tag = name.partition("/")
        published = open_clip.get_pretrained_cfg(model, tag)
        weights = _hub_file(published["hf_hub"].rstrip("/"), CLIP_WEIGHTS) if published else tag
        if not weights.endswith(".safetensors"):
            raise BadContent(f"{name!r} is not a CLIP of open_clip with weights in safetensors")
        quick = bool(published.get("quick_gelu", False))
        clip = open_clip.create_model(model, pretrained=weights, force_quick_gelu=quick)
        tokenizer = open_clip.get_tokenizer(model)
    if not isinstance(clip, open_clip.CLIP) or not isinstance(tokenizer, SimpleTokenizer):
        raise BadContent(f"{name!r} has another text tower than CLIP's own")
    return clip.eval().requires_grad_(False), tokenizer


def load_hub_image_encoder(name: str) -> ImageEncoder:
    """A published image tower: a CLIP named as for `load_hub_clip`, or `timm:` and a timm model.

    `timm:vit_large_patch14_dinov2.lvd142m` comes from the hub, `timm:NAME/FILE.safetensors` takes
    the architecture's weights from a file.
    """
    if not name.startswith(TIMM):
        clip, _ = load_hub_clip(name)
        size = clip.visual.image_size
        mean, std = clip.visual.preprocess_cfg["mean"], clip.visual.preprocess_cfg["std"]
        return ImageEncoder(clip.visual, size[0], mean, std).eval().requires_grad_(False)
    with extra("data"):
        import timm
    model, _, weights = name.removeprefix(TIMM).partition("/")
    weights = weights or _hub_file(f"timm/{model}", "model.safetensors")
    tower = timm.create_model(model, num_classes=0)
    tower.load_state_dict(safetensors.torch.load_file(weights))
    data = timm.data.resolve_model_data_config(tower)
    encoder = ImageEncoder(tower, data["input_size"][-1], data["mean"], data["std"])
    return encoder.eval().requires_grad_(False)


def _hub_file(repository: str, name: str) -> str:
    """The local path of a hub's file, downloaded if the cache lacks it."""
    try:
        return huggingface_hub.hf_hub_download(repository, name)
    except OSError as error:
        raise _not_had(f"{repository}/{name}") from error


def _not_had(name: str) -> NotAvailable:
    remedy = "name a local copy of it, or download it once while the hub can be reached"
    return NotAvailable(f"{name} is not in the hub's cache and cannot be downloaded now", remedy)
