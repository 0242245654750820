"""Line charts as SVG, side by side on one scale: no library draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 190, 46, 46, 30
COLOURS: Final = ("#8c959f", "#0969da", "#bf8700", "#1a7f37")
INK: Final = "#24292f"

Lines = Mapping[str, Sequence[float]]
"""Name of a line -> its values, from 0 to 1."""


def chart(title: str, panels: Mapping[str, Lines], ticks: Sequence[str]) -> str:
    """One panel for each entry of `panels`; a line has one value for each of `ticks`."""
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    width = LEFT + len(panels) * (WIDTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{TOP + HEIGHT + 62}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(LEFT, 18, title, "start"),
    ]
    for number, (panel, lines) in enumerate(panels.items()):
        parts += _panel(LEFT + number * (WIDTH + GAP), panel, lines, names, ticks)
    for number, name in enumerate(names):
        x, y = LEFT + number * 130, TOP + HEIGHT + 48
        parts.append(f'<path d="M{x} {y - 4}h20" stroke="{COLOURS[number]}" stroke-width="2"/>')
        parts.append(_text(x + 26, y, name, "start"))
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    left: int, title: str, lines: Lines, names: Sequence[str], ticks: Sequence[str]
) -> list[str]:
    bottom = TOP + HEIGHT
    parts = [_text(left + WIDTH / 2, TOP - 8, title)]
    for level in range(5):
        y = bottom - level * HEIGHT / 4
        parts.append(f'<path d="M{left} {y}h{WIDTH}" stroke="#d0d7de"/>')
        parts.append(_text(left - 6, y + 4, f"{level * 25}%", "end"))
    places = [left + WIDTH * (0.06 + 0.88 * i / (len(ticks) - 1)) for i in range(len(ticks))]
    parts += [_text(x, bottom + 18, tick) for x, tick in zip(places, ticks, strict=True)]
    for name, values in lines.items():
        colour = COLOURS[names.index(name)]
        points = [(x, bottom - value * HEIGHT) for x, value in zip(places, values, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return parts


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
