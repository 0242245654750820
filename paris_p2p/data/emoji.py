"""The captioned emoji that ship with the project: 64x64, four styles, three splits.

One Parquet row is one picture. Two splits are held out from training. `held_out_pair` is a concept
seen only in other styles (composition). `held_out_concept` is a concept never seen in any style.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from paris_p2p.errors import BadContent, extra

TILE_PX = 64
"""Side of a picture in pixels."""

Split = Literal["train", "held_out_pair", "held_out_concept"]


@dataclass(frozen=True)
class EmojiSample:
    """One captioned picture. `image` is WebP, `concept` the code points in hex, fe0f dropped."""

    image: bytes
    caption: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    style: str
    concept: str
    licence: str
    split: Split

    def pixels(self) -> Tensor:
        """Decode to uint8 (3, 64, 64)."""
        with Image.open(io.BytesIO(self.image)) as picture:
            array = np.asarray(picture.convert("RGB"))
        return torch.from_numpy(array.copy()).permute(2, 0, 1)


def load_emoji(path: Path) -> tuple[EmojiSample, ...]:
    """Read all samples of a data file in order; `BadContent` if it is not such a file.

    A column is a field of `EmojiSample`.
    """
    with extra("data"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadContent(f"{path} is not a readable Parquet file: {error}") from error
    columns = [field.name for field in fields(EmojiSample)]
    if table.schema.names != columns:
        raise BadContent(f"{path} has columns {table.schema.names}, not {columns}")
    return tuple(_sample(row) for row in table.to_pylist())


def _sample(row: dict[str, Any]) -> EmojiSample:
    if row["split"] not in get_args(Split):
        raise BadContent(f"{row['caption']!r} is in an unknown split {row['split']!r}")
    return EmojiSample(**{**row, "tags": tuple(row["tags"]), "split": cast(Split, row["split"])})


def pixels_of(samples: Sequence[EmojiSample]) -> Tensor:
    """Decode many samples to uint8 (N, 3, 64, 64)."""
    return torch.stack([sample.pixels() for sample in samples])


def to_signal(pixels: Tensor) -> Tensor:
    """uint8 pixels to float32 in [-1, 1], the input of the autoencoder and the image towers."""
    return pixels.float() / 127.5 - 1.0
