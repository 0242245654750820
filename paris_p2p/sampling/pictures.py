"""Sampled images on disk: PNG with provenance, alone or as a labelled contact sheet."""

from __future__ import annotations

import io
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from paris_p2p.errors import BadContent

PROVENANCE = "paris-p2p"
"""Name of the PNG text chunk with the provenance: a JSON list, one entry per image."""
GAP = 16
LABEL = 22
INK = "#24292f"


@dataclass(frozen=True)
class Picture:
    """One sampled image at the run's own size, and its provenance."""

    prompt: str
    image: Image.Image
    provenance: Mapping[str, Any]

    def scaled(self, scale: int) -> Image.Image:
        width, height = self.image.size
        return self.image.resize((width * scale, height * scale), Image.Resampling.LANCZOS)


def png_of(pictures: Sequence[Picture], scale: int) -> bytes:
    """One picture as it is, several as a contact sheet. BadContent if the provenance is bad."""
    image = pictures[0].scaled(scale) if len(pictures) == 1 else contact_sheet(pictures, scale)
    info = PngInfo()
    info.add_itxt(PROVENANCE, _encoded([picture.provenance for picture in pictures]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _encoded(provenance: Sequence[Mapping[str, Any]]) -> str:
    try:
        return json.dumps(provenance, allow_nan=False)
    except ValueError as error:
        raise BadContent("the picture's provenance has numbers that are not finite") from error


def read_provenance(path: Path) -> list[dict[str, Any]]:
    """A picture's provenance, one entry per image; empty when it has none."""
    with Image.open(path) as image:
        text = image.info.get(PROVENANCE, "[]")
    provenance: list[dict[str, Any]] = json.loads(text)
    return provenance


def contact_sheet(pictures: Sequence[Picture], scale: int) -> Image.Image:
    """Pictures in up to four columns, each above its prompt, which is cut to the tile's width."""
    columns = min(4, len(pictures))
    rows = -(-len(pictures) // columns)
    tiles = [picture.scaled(scale) for picture in pictures]
    width, height = tiles[0].size
    across, down = width + GAP, height + LABEL + GAP
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for index, (picture, tile) in enumerate(zip(pictures, tiles, strict=True)):
        left = GAP + index % columns * across
        top = GAP + index // columns * down
        sheet.paste(tile, (left, top))
        label = _cut(_one_line(picture.prompt), lambda text: draw.textlength(text, font) <= width)
        draw.text((left + width / 2, top + height + 4), label, INK, font, anchor="ma")
    return sheet


def _one_line(text: str) -> str:
    """`text` without line breaks and other control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _cut(text: str, fits: Callable[[str], bool]) -> str:
    if fits(text):
        return text
    lengths = range(1, len(text))
    longest = bisect_left(lengths, True, key=lambda length: not fits(text[:length] + "..."))
    return text[:longest] + "..."
