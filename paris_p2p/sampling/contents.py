"""Where sampling gets files from: any store can feed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

HeadRow = Mapping[str, Any]
"""A head as a peer tells of it: "manifest" (hex), "author", "step" and more."""


class Contents(Protocol):
    """Where the files of a run come from, by content id (hex), verified."""

    def fetch(self, content: str) -> Path:
        """The file of a content. NotAvailable when it cannot be had."""

    def fetch_head(self, slot: int, contents: Sequence[str]) -> tuple[str, Path]:
        """The first of these checkpoints, best first, that is here, and its file.

        NotAvailable when none can be had.
        """

    def heads(self, slot: int) -> Sequence[HeadRow]:
        """The heads of a slot that can be had now, best first, looked for afresh."""

    def condemn(self, head: HeadRow, reason: str) -> bool:
        """Never give what this head names again: it was tried and refuted.

        False where that did not show the head to be worthless: its file may have rotted here.
        """
