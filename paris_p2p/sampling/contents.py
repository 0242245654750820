"""Where sampling gets files from: any store can feed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

HeadRow = Mapping[str, Any]
"""A head as a peer tells of it: "manifest" (hex), "author", "step" and more."""


class Contents(Protocol):
    """The source of a run's files, by content id (hex), verified."""

    def fetch(self, content: str) -> Path:
        """The file of a content. NotAvailable when it cannot be had."""

    def fetch_head(self, slot: int, contents: Sequence[str]) -> tuple[str, Path]:
        """The first of these checkpoints, best first, that can be had, and its file.

        NotAvailable when none can.
        """

    def heads(self, slot: int) -> Sequence[HeadRow]:
        """The heads of a slot that can be had now, best first, looked up again."""

    def condemn(self, head: HeadRow, reason: str) -> bool:
        """Never return this head's content again: it was tried and refuted.

        False if that does not prove the head worthless: its file may be damaged on this disk.
        """
