"""The art and the words: four emoji styles and their captions, as npm packages them."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py

RENDER_PX = 256
"""Side of the square in pixels at which SVG is rasterised before it is fitted to a tile."""

PACKAGES = {
    "fluent-3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "fluent-flat": "@lobehub/fluent-emoji-flat@1.1.0",
    "noto": "@iconify-json/noto@1.2.9",
    "twemoji": "@twemoji/svg@15.0.0",
    "emojibase": "emojibase-data@17.0.0",
}

GROUPS_LEFT_OUT = frozenset({"component", "flags"})
"""Bare skin tones and hair are no pictures; the origin of one set's flags is unclear."""


@dataclass(frozen=True)
class Concept:
    """One emoji as Unicode means it, whatever the style. `key` is its code points in hex."""

    key: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    order: int


@dataclass(frozen=True)
class Style:
    """One artist's hand: `word` is what captions call it, `image` gives PNG or WebP bytes."""

    name: str
    word: str
    licence: str
    image: Callable[[str], bytes | None]


def normal_key(hexcode: str) -> str:
    """The code points without variation selectors: the packages disagree on keeping them."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def unpack(name: str, packed: Path, into: Path) -> Path:
    """Return the folder of npm package `name`, packed by npm first where `packed` lacks it."""
    spec = PACKAGES[name]
    stem = spec.removeprefix("@").replace("/", "-").replace("@", "-")
    archive = packed / f"{stem}.tgz"
    if not archive.exists():
        command = ["npm", "pack", "--silent", "--pack-destination", str(packed), spec]
        subprocess.run(command, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(into / stem, filter="data")
    return into / stem / "package"


def read_concepts(emojibase: Path) -> list[Concept]:
    """Every emoji of the groups kept, in Unicode's order, without skin-tone variants."""
    names = json.loads((emojibase / "meta" / "groups.json").read_text())
    entries: list[dict[str, Any]] = json.loads((emojibase / "en" / "data.json").read_text())
    concepts = [
        Concept(
            key=normal_key(entry["hexcode"]),
            label=entry["label"].lower(),
            tags=tuple(entry.get("tags", ())),
            group=names["groups"][str(entry["group"])],
            subgroup=names["subgroups"][str(entry["subgroup"])],
            order=entry["order"],
        )
        for entry in entries
        if "group" in entry
    ]
    kept = [concept for concept in concepts if concept.group not in GROUPS_LEFT_OUT]
    return sorted(kept, key=lambda concept: concept.order)


def read_styles(folders: dict[str, Path]) -> list[Style]:
    """The four styles, each a lookup from a concept's key to its picture's bytes."""
    flat = _svg_files(folders["fluent-flat"] / "assets")
    return [
        Style("fluent-3d", "3d", "MIT", _webp_files(folders["fluent-3d"] / "assets")),
        Style("fluent-flat", "flat", "MIT", flat),
        Style("noto", "noto", "Apache-2.0", _iconify(folders["noto"])),
        Style("twemoji", "twemoji", "CC-BY-4.0", _svg_files(folders["twemoji"])),
    ]


def _by_key(folder: Path, suffix: str) -> dict[str, Path]:
    return {normal_key(path.stem): path for path in sorted(folder.glob(f"*{suffix}"))}


def _webp_files(folder: Path) -> Callable[[str], bytes | None]:
    paths = _by_key(folder, ".webp")
    return lambda key: paths[key].read_bytes() if key in paths else None


def _svg_files(folder: Path) -> Callable[[str], bytes | None]:
    paths = _by_key(folder, ".svg")
    return lambda key: _rasterise(paths[key].read_text()) if key in paths else None


def _iconify(folder: Path) -> Callable[[str], bytes | None]:
    icons = json.loads((folder / "icons.json").read_text())
    chars: dict[str, str] = json.loads((folder / "chars.json").read_text())
    names = {normal_key(code): name for code, name in sorted(chars.items())}
    width, height = icons["width"], icons["height"]

    def image(key: str) -> bytes | None:
        icon = icons["icons"].get(names.get(key, ""))
        if icon is None:
            return None
        box = f"0 0 {icon.get('width', width)} {icon.get('height', height)}"
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}"'
        link = ' xmlns:xlink="http://www.w3.org/1999/xlink">'
        return _rasterise(f"{head}{link}{icon['body']}</svg>")

    return image


def _rasterise(svg: str) -> bytes:
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg, width=RENDER_PX, height=RENDER_PX, skip_system_fonts=True
        )
    )
