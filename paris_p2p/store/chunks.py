"""Chunks on disk: one file each, named by the BLAKE3 of its bytes and hashed again on every read.

All calls block; on an event loop, run them in a thread. Any number of threads may use a store, but
only one process may open it (see `home.Home.lock`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from paris_p2p.errors import BadContent
from paris_p2p.files import sweep_partial_files, write_atomically
from paris_p2p.records.manifest import CHUNK_SIZE, content_id

_ID_LENGTH = 32
_DIGIT = "[0-9a-f]"
_FOLDERS = 2 * _DIGIT
FILES = 2 * _ID_LENGTH * _DIGIT
"""Glob pattern of file names that are ids in hex."""


class MissingChunk(BadContent):
    """The store does not hold this chunk, or has removed it because it was damaged."""

    def __init__(self, chunk: bytes) -> None:
        super().__init__(f"chunk {chunk.hex()} is not in the store")
        self.chunk = chunk


class ChunkStore:
    """Pieces of at most CHUNK_SIZE bytes under `root`, spread over 256 folders."""

    def __init__(self, root: Path) -> None:
        """Open the store, and remove half-written files that a killed process left."""
        self._root = root
        for folder in root.glob(_FOLDERS):
            sweep_partial_files(folder)

    def put(self, data: bytes) -> bytes:
        """Store `data` and return its id. Synced to disk on return; a damaged copy is replaced.

        BadContent for more than CHUNK_SIZE bytes, DiskFull when there is no room.
        """
        if len(data) > CHUNK_SIZE:
            raise BadContent(f"a chunk of {len(data)} bytes, over {CHUNK_SIZE}")
        chunk = content_id(data)
        if self._read(chunk) != data:
            write_atomically(self._path(chunk), data)
        return chunk

    def put_verified(self, chunk: bytes, data: memoryview) -> None:
        """Store bytes that the caller has verified to match `chunk`, and can fetch again.

        Not synced, for speed: a power cut may lose or damage the chunk, which `get` notices.
        """
        write_atomically(self._path(chunk), data, synced=False)

    def get(self, chunk: bytes) -> bytes:
        """The bytes with this id, verified. MissingChunk when they are missing or damaged."""
        data = self._read(chunk)
        if data is None:
            raise MissingChunk(chunk)
        if content_id(data) != chunk:
            self.delete(chunk)
            raise MissingChunk(chunk)
        return data

    def sound(self, chunk: bytes) -> bool:
        """False when the chunk was damaged, and so removed; True when it is intact or missing."""
        data = self._read(chunk)
        if data is None or content_id(data) == chunk:
            return True
        self.delete(chunk)
        return False

    def has(self, chunk: bytes) -> bool:
        """Whether there is a file for this id. Only `get` checks that it is intact."""
        return self._path(chunk).is_file()

    def delete(self, chunk: bytes) -> None:
        """Delete the chunk with this id, if there is one."""
        self._path(chunk).unlink(missing_ok=True)

    def ids(self) -> Iterator[bytes]:
        """The ids of all chunks, in no order."""
        return (bytes.fromhex(file.name) for file in self._files())

    def older_than(self, moment: float) -> Iterator[bytes]:
        """The ids of chunks that were written before `moment` (Unix seconds), in no order."""
        for file in self._files():
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < moment:
                    yield bytes.fromhex(file.name)

    def usage(self) -> int:
        """Bytes of all chunks."""
        return total_size(self._files())

    def _files(self) -> Iterator[Path]:
        return self._root.glob(f"{_FOLDERS}/{FILES}")

    def _path(self, chunk: bytes) -> Path:
        if len(chunk) != _ID_LENGTH:
            raise BadContent(f"a chunk's id has {_ID_LENGTH} bytes, not {len(chunk)}")
        name = chunk.hex()
        return self._root / name[:2] / name

    def _read(self, chunk: bytes) -> bytes | None:
        """The file of this id, unverified, cut off one byte after CHUNK_SIZE."""
        try:
            with self._path(chunk).open("rb") as file:
                return file.read(CHUNK_SIZE + 1)
        except FileNotFoundError:
            return None


def total_size(files: Iterable[Path]) -> int:
    """Bytes of these files; a file that another thread has just deleted does not count."""
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total
