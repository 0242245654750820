"""Build `emoji.parquet`: captioned 64x64 emoji in four styles, split for held-out tests.

    python -m bootstrap.shipped_run.build.dataset [--packed FOLDER]

`--packed` is a folder of `npm pack` archives; what it lacks is packed by npm into it.
"""

from __future__ import annotations

import argparse
import io
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bootstrap.shipped_run.build import SHIPPED
from bootstrap.shipped_run.build.sources import (
    PACKAGES,
    Concept,
    Style,
    read_concepts,
    read_styles,
    unpack,
)
from paris_p2p.data.emoji import TILE_PX

SCHEMA = pa.schema(
    [
        ("image", pa.binary()),
        ("caption", pa.string()),
        ("label", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("group", pa.string()),
        ("subgroup", pa.string()),
        ("style", pa.string()),
        ("concept", pa.string()),
        ("licence", pa.string()),
        ("split", pa.string()),
    ]
)

ART_PX = 60
"""The longer side of the art within its tile, the same in every style."""

WEBP_QUALITY = 85
HELD_OUT_CONCEPTS = 0.03
"""Share of the concepts kept out of training whole, in every style."""
HELD_OUT_PAIRS = 0.18
"""Share of the other concepts (seen in three styles or more) of which one style is kept out."""


def tile(picture: bytes) -> bytes:
    """Crop to the art, fit it to the tile's middle on white, encode as WebP."""
    art = Image.open(io.BytesIO(picture)).convert("RGBA")
    box = art.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0).getbbox()
    art = art.crop(box)
    scale = ART_PX / max(art.size)
    size = (max(1, round(art.width * scale)), max(1, round(art.height * scale)))
    # Premultiplied, so that the colour under transparent pixels does not bleed into the edges.
    art = art.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    canvas = Image.new("RGBA", (TILE_PX, TILE_PX), "white")
    canvas.alpha_composite(art, ((TILE_PX - size[0]) // 2, (TILE_PX - size[1]) // 2))
    buffer = io.BytesIO()
    canvas.convert("RGB").save(buffer, "WEBP", quality=WEBP_QUALITY, method=6)
    return buffer.getvalue()


def split_of(concepts: dict[str, list[str]], seed: int) -> dict[tuple[str, str], str]:
    """Name the split of every (concept, style), given the styles that each concept has."""
    rng = random.Random(seed)
    splits: dict[tuple[str, str], str] = {}
    for key, styles in concepts.items():
        whole = rng.random() < HELD_OUT_CONCEPTS
        lucky = len(styles) >= 3 and rng.random() < HELD_OUT_PAIRS
        missing = rng.choice(styles) if lucky else None
        for style in styles:
            pair = "held_out_pair" if style == missing else "train"
            splits[key, style] = "held_out_concept" if whole else pair
    return splits


def build_table(concepts: Sequence[Concept], styles: Sequence[Style], seed: int) -> pa.Table:
    """Render every concept in every style that has it; one row each, in Unicode's order."""
    rows: list[dict[str, object]] = []
    have: dict[str, list[str]] = {}
    for number, concept in enumerate(concepts):
        if number % 100 == 0:
            print(f"concept {number} of {len(concepts)}", flush=True)
        for style in styles:
            picture = style.image(concept.key)
            if picture is None:
                continue
            have.setdefault(concept.key, []).append(style.name)
            rows.append(
                {
                    "image": tile(picture),
                    "caption": f"{concept.label}, {style.word} style",
                    "label": concept.label,
                    "tags": list(concept.tags),
                    "group": concept.group,
                    "subgroup": concept.subgroup,
                    "style": style.name,
                    "concept": concept.key,
                    "licence": style.licence,
                }
            )
    splits = split_of(have, seed)
    for row in rows:
        row["split"] = splits[str(row["concept"]), str(row["style"])]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def main() -> None:
    """Build the data file and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packed", type=Path, help="folder of npm pack archives")
    parser.add_argument("--out", type=Path, default=SHIPPED / "emoji.parquet")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        packed = args.packed or Path(scratch)
        folders = {name: unpack(name, packed, Path(scratch)) for name in PACKAGES}
        table = build_table(read_concepts(folders["emojibase"]), read_styles(folders), args.seed)
    aside = args.out.with_suffix(".new")
    pq.write_table(table, aside, compression="zstd", row_group_size=512)
    shutil.move(aside, args.out)
    print(f"{args.out}: {table.num_rows} images, {args.out.stat().st_size / 1e6:.2f} MB")
    for column in ("split", "style", "group"):
        print(column, table.column(column).value_counts().to_pylist())


if __name__ == "__main__":
    main()
