"""The file that holds one cluster's encoded samples, and its checks.

One safetensors file of format `paris-shard/2`:

| tensor | dtype, shape | meaning |
|---|---|---|
| `latents` | int8 (N, C, h, w) | training images: latent = int8 x `latent_scale[c]` |
| `latent_scale` | float32 (C,) | one step of the int8, per channel |
| `text_ids` | uint16 or int32 (N, A, L) | caption tokens, padded with 0 after the end token |
| `held_out_latents` | int8 (M, C, h, w) | held-out images of this cluster, the same scale |
| `held_out_text_ids` | the same (M, L) | their captions |

Each training image has A alternative captions. The first is the one that a held-out image of its
kind would have. Format `paris-shard/1` has one caption an image, and `text_ids` of (N, L) as int32.

Captions are stored as ids, 2 or 4 bytes a token. Embeddings would take hundreds of times as much,
and every trainer has the run's text encoder. Shards come from strangers, so `read_shard` refuses
every file that a trainer could fail on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from paris_p2p.errors import BadContent
from paris_p2p.files import write_atomically
from paris_p2p.model.weights import read_metadata

SHARD_FORMAT = "paris-shard/2"
ONE_CAPTION_FORMAT = "paris-shard/1"

MAX_ROWS = 50_000_000
ROWS_AT_ONCE = 65_536
MAX_ALTERNATIVES = 64
"""Most captions of one image."""


@dataclass(frozen=True)
class Shard:
    """One cluster's samples, as the table above names them."""

    latents: Tensor
    latent_scale: Tensor
    text_ids: Tensor
    held_out_latents: Tensor
    held_out_text_ids: Tensor

    def train_latents(self) -> Tensor:
        """The training latents as float32 (N, C, h, w)."""
        return dequantise(self.latents, self.latent_scale)

    def held_out(self) -> Tensor:
        """The held-out latents as float32 (M, C, h, w)."""
        return dequantise(self.held_out_latents, self.latent_scale)


def quantise(latents: Tensor, scale: Tensor) -> Tensor:
    """float (N, C, h, w) -> int8 by steps of `scale`, (C,)."""
    return (latents / scale[:, None, None]).round().clamp(-127, 127).to(torch.int8)


def narrowed(ids: Tensor) -> Tensor:
    """Token ids as uint16 where they fit, else as int32."""
    fits = not ids.numel() or int(ids.max()) < 1 << 16
    return ids.to(torch.uint16 if fits else torch.int32)


def dequantise(latents: Tensor, scale: Tensor) -> Tensor:
    """int8 (N, C, h, w) -> float32 by steps of `scale`, (C,)."""
    return latents.float() * scale[:, None, None]


def write_shard(path: Path, shard: Shard) -> None:
    """Write the shard to a temporary file and rename it into place."""
    tensors = {field.name: getattr(shard, field.name).contiguous() for field in fields(Shard)}
    write_atomically(path, save(tensors, {"format": SHARD_FORMAT}), mode=0o644)


def read_shard(
    source: Path | bytes, *, latent_shape: tuple[int, int, int], context_length: int
) -> Shard:
    """Read a shard whose latents are (C, h, w) and captions `context_length` ids.

    A file is memory-mapped: its samples take no memory until they are used.

    Raises `BadContent` for a wrong format, name, dtype, shape or count, for a scale that is not
    finite and positive, and for negative ids.
    """
    form = read_metadata(source).get("format")
    if form not in (SHARD_FORMAT, ONE_CAPTION_FORMAT):
        raise BadContent(f"the shard's format is {form!r}, not {SHARD_FORMAT!r}")
    try:
        tensors = load_file(source) if isinstance(source, Path) else load(source)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise BadContent(f"the shard is damaged: {error}") from error
    names = {field.name for field in fields(Shard)}
    if tensors.keys() != names:
        raise BadContent(f"the shard does not have exactly the tensors {sorted(names)}")
    if form == ONE_CAPTION_FORMAT:
        tensors["text_ids"] = tensors["text_ids"].unsqueeze(1)
    shard = Shard(**tensors)
    _check_scale(shard.latent_scale, latent_shape[0])
    if _check_latents(shard.latents, latent_shape) < 1:
        raise BadContent("the shard has no training samples")
    _check_latents(shard.held_out_latents, latent_shape)
    alternatives = _check_alternatives(shard.text_ids)
    _check_captions(shard.text_ids, (len(shard.latents), alternatives, context_length))
    _check_captions(shard.held_out_text_ids, (len(shard.held_out_latents), context_length))
    return shard


def _check_scale(scale: Tensor, channels: int) -> None:
    if scale.shape != (channels,) or scale.dtype != torch.float32:
        raise BadContent(f"the shard's scale is not a float32 vector of {channels}")
    if not bool((scale.isfinite() & (scale > 0)).all()):
        raise BadContent("the shard's scale is not finite and positive")


def _check_latents(latents: Tensor, latent_shape: tuple[int, int, int]) -> int:
    """The number of samples."""
    rows = len(latents) if latents.dim() else 0
    if latents.dtype != torch.int8 or latents.shape != (rows, *latent_shape):
        raise BadContent(f"the shard's latents are not int8 of {latent_shape} each")
    if rows > MAX_ROWS:
        raise BadContent(f"the shard has {rows} samples, more than {MAX_ROWS}")
    return rows


def _check_alternatives(ids: Tensor) -> int:
    """The number of alternative captions of an image."""
    alternatives = ids.shape[1] if ids.dim() == 3 else 0
    if not 1 <= alternatives <= MAX_ALTERNATIVES:
        raise BadContent(f"the shard's images do not have 1 to {MAX_ALTERNATIVES} captions each")
    return alternatives


def _check_captions(ids: Tensor, shape: tuple[int, ...]) -> None:
    if ids.dtype not in (torch.uint16, torch.int32) or ids.shape != shape:
        raise BadContent(f"the shard's captions are not uint16 or int32 of {shape}")
    if ids.dtype == torch.int32 and any(int(part.min()) < 0 for part in _looks(ids)):
        raise BadContent("the shard has negative token ids")


def _looks(ids: Tensor) -> tuple[Tensor, ...]:
    """The rows in parts, so that looking at all takes little memory."""
    return torch.split(ids, ROWS_AT_ONCE) if ids.numel() else ()
