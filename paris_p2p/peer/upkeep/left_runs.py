"""The runs that a home has left: their own contents, and the contents published in them.

A left run does not change, so it is read once.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path

from paris_p2p.errors import BadContent
from paris_p2p.peer.books.record_book import FORMER
from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest
from paris_p2p.store.chunks import ChunkStore


class LeftRuns:
    """Every run that a home knows and that its node does not take part in.

    Parameters
    ----------
    folder : holds a folder for each run.
    chunks : holds the run records.
    taken : ids of the runs that the node takes part in.
    """

    def __init__(self, folder: Path, chunks: ChunkStore, taken: Container[bytes]) -> None:
        self._folder = folder
        self._chunks = chunks
        self._taken = taken
        self._known: dict[bytes, set[bytes]] = {}

    def forget(self, run_id: bytes) -> None:
        """Forget a run that has just been left, so that it is read again."""
        self._known.pop(run_id, None)

    def ids(self) -> list[bytes]:
        found = [bytes.fromhex(at.name) for at in self._folder.iterdir() if _is_id(at.name)]
        return [run_id for run_id in found if run_id not in self._taken]

    def contents(self, but: bytes = b"") -> set[bytes]:
        """Manifest ids of all contents of these runs except the run `but`: see `contents_of`."""
        left = self.ids()
        self._known = {run_id: self.contents_of(run_id) for run_id in left}
        return set().union(*(self._known[run_id] for run_id in left if run_id != but))

    def contents_of(self, run_id: bytes) -> set[bytes]:
        """A left run's own contents, and all that its records name."""
        if run_id in self._known:
            return self._known[run_id]
        named = {record.manifest for record in _records_in(self._folder / run_id.hex())}
        with suppress(BadContent):
            named |= RunManifest.unseal(self._chunks.get(run_id), run_id).content_ids()
        return named


def _records_in(folder: Path) -> Iterator[Head | Resume]:
    for kind in (Head, Resume):
        for suffix in ("", FORMER):
            for path in folder.rglob(f"*.{kind.KIND}{suffix}"):
                with suppress(BadContent, OSError):
                    yield kind.unseal(path.read_bytes())


def _is_id(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
