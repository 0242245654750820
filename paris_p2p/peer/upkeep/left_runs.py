"""The runs that a home took part in before: what they are made of, and what was published in them.

Nothing of theirs changes while a peer of another run holds the home, so it is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from paris_p2p.errors import BadContent
from paris_p2p.peer.books.record_book import FORMER
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest
from paris_p2p.store.chunks import ChunkStore


class LeftRuns:
    """Every run that a home knows but the one that its peer takes part in.

    Parameters
    ----------
    folder : where a home keeps a folder for each run.
    chunks : where the records of the runs lie.
    current : id of the run that is not left.
    """

    def __init__(self, folder: Path, chunks: ChunkStore, current: bytes) -> None:
        self._folder = folder
        self._chunks = chunks
        self._current = current

    def ids(self) -> list[bytes]:
        return list(self._folders)

    def contents(self) -> set[bytes]:
        """Manifest ids of all that these runs are made of, and of all that their records name."""
        return self._contents

    @cached_property
    def _folders(self) -> dict[bytes, Path]:
        found = {bytes.fromhex(at.name): at for at in self._folder.iterdir() if _is_id(at.name)}
        found.pop(self._current, None)
        return found

    @cached_property
    def _contents(self) -> set[bytes]:
        named: set[bytes] = set()
        for run_id, folder in self._folders.items():
            with suppress(BadContent):
                named |= RunManifest.unseal(self._chunks.get(run_id), run_id).content_ids()
            named |= {record.manifest for record in _records_in(folder)}
        return named


def _records_in(folder: Path) -> Iterator[Head | Resume]:
    for kind in (Head, Resume):
        for suffix in ("", FORMER):
            for path in folder.rglob(f"*.{kind.KIND}{suffix}"):
                with suppress(BadContent, OSError):
                    yield kind.unseal(path.read_bytes())


def _is_id(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
