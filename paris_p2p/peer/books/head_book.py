"""The newest heads that this peer has seen: see `record_book`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from paris_p2p.identity import Author
from paris_p2p.peer.books.record_book import RecordBook
from paris_p2p.records.head import Head


class HeadBook(RecordBook[Head]):
    """Heads of one run, the newest per (slot, author), under `folder`."""

    def __init__(
        self,
        folder: Path,
        run: bytes,
        slots: Collection[int],
        counts: Callable[[Head], bool] = lambda head: True,
        own: Author | None = None,
        lasts: Callable[[Head], bool] | None = None,
    ) -> None:
        super().__init__(Head, folder, run, slots, counts, own, lasts)
