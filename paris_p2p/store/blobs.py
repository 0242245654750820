"""Whole files in the store: cut into chunks under a manifest, and put together again.

A blob is a file in the store. Its name is its manifest's id. The manifest is itself a chunk. An
empty file under `manifests/`, its marker, says that the chunk is a manifest; the marker's time says
when the blob was last used. Files under `files/` are made from chunks and may be deleted.

A blob is dropped in the order chunks, manifest, marker. A process that is killed in between leaves
an incomplete blob that is still known and can be dropped again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from paris_p2p.errors import BadContent
from paris_p2p.files import sweep_partial_files, write_atomically
from paris_p2p.records.manifest import CHUNK_SIZE, Manifest, content_id
from paris_p2p.store.chunks import FILES, ChunkStore, MissingChunk, total_size


class NoManifest(BadContent):
    """The chunk with a blob's id is not a manifest, so there is no such blob."""


@dataclass(eq=False)
class _Addition:
    """A file that is being added: its chunks must stay although no manifest names them yet."""

    size: int = 0
    chunks: list[bytes] = field(default_factory=list)
    written: set[bytes] = field(default_factory=set)
    """The chunks that the store did not hold before."""


class Blobs:
    """Files <-> chunks. Blocking and thread-safe, like the ChunkStore beneath.

    Adding a file blocks no other thread for long: the lock is held for one chunk at a time.

    A chunk that is found damaged while a blob is read is removed and raises MissingChunk. `missing`
    then lists it, so that it is fetched again.
    """

    def __init__(self, chunks: ChunkStore, root: Path) -> None:
        self.chunks = chunks
        self._known = root / "manifests"
        self._files = root / "files"
        self._changing = threading.Lock()
        self._additions: list[_Addition] = []
        sweep_partial_files(self._known)
        sweep_partial_files(self._files)

    def add_file(self, path: Path, kind: str, name: str) -> Manifest:
        """Store a copy of the file at `path`, read as a stream."""
        with path.open("rb") as file:
            return self._add(iter(lambda: file.read(CHUNK_SIZE), b""), kind, name)

    def add_bytes(self, data: bytes, kind: str, name: str) -> Manifest:
        """Store `data` as a file."""
        pieces = (data[start : start + CHUNK_SIZE] for start in range(0, len(data), CHUNK_SIZE))
        return self._add(pieces, kind, name)

    def add_manifest(self, encoded: bytes) -> Manifest:
        """Store a manifest whose chunks may follow later. NoManifest when it is not one."""
        try:
            manifest = Manifest.decode(encoded)
        except BadContent as error:
            raise NoManifest(f"not a manifest: {error.message}") from error
        with self._changing:
            self._mark(self.chunks.put(encoded))
        return manifest

    def manifest(self, blob: bytes) -> Manifest | None:
        """The manifest with this id; None when the store has no valid one."""
        try:
            return Manifest.decode(self.chunks.get(blob))
        except BadContent:
            return None

    def missing(self, manifest: Manifest) -> list[bytes]:
        """Ids of the chunks still to be fetched, each once, in the order of the file."""
        return [chunk for chunk in dict.fromkeys(manifest.chunks) if not self.chunks.has(chunk)]

    def drop_damaged(self, manifest: Manifest) -> None:
        """Remove the damaged chunks, which `missing` then lists."""
        for chunk in dict.fromkeys(manifest.chunks):
            self.chunks.sound(chunk)

    def complete(self, blob: bytes) -> bool:
        """Whether the store has the manifest and all its chunks."""
        manifest = self.manifest(blob)
        return manifest is not None and not self.missing(manifest)

    def known(self) -> dict[bytes, float]:
        """Ids of all blobs, complete or not, with the time of last use (Unix seconds)."""
        return _times(self._known)

    def note_use(self, blob: bytes, now: float) -> None:
        """Remember that the blob was used at `now` (Unix seconds), if its manifest is here."""
        if self.manifest(blob) is None:
            return
        with self._changing:
            if self.chunks.has(blob):
                self._mark(blob)
                os.utime(self._known / blob.hex(), (now, now))

    def usage(self) -> int:
        """Bytes on disk: chunks, manifests, and the files made from them."""
        return self.chunks.usage() + total_size(self._files.glob(FILES))

    def drop(self, blob: bytes) -> None:
        """Delete a blob, except the chunks that other blobs share with it."""
        with self._changing:
            manifest = self.manifest(blob)
            shared = self._needed(set(self.known()) - {blob})
            (self._files / blob.hex()).unlink(missing_ok=True)
            for chunk in dict.fromkeys((*manifest.chunks, blob) if manifest else ()):
                if chunk not in shared:
                    self.chunks.delete(chunk)
            (self._known / blob.hex()).unlink(missing_ok=True)

    def drop_file(self, blob: bytes) -> None:
        """Delete the file made from a blob; the blob stays."""
        (self._files / blob.hex()).unlink(missing_ok=True)

    def sweep(self, keep: Collection[bytes], before: float) -> int:
        """Delete chunks of no known blob that were written before `before` (Unix seconds).

        A process that was killed while it added a file leaves such chunks. Chunks with an id in
        `keep` stay. Returns how many were deleted. None are deleted while a manifest is damaged,
        because its chunks are not known.
        """
        old = list(self.chunks.older_than(before))
        with self._changing:
            known = self.known()
            if not all(self.manifest(blob) for blob in known):
                return 0
            needed = self._needed(known) | set(keep)
            stray = [chunk for chunk in old if chunk not in needed]
            for chunk in stray:
                self.chunks.delete(chunk)
        return len(stray)

    def scrub(self) -> Iterator[bool]:
        """Read everything on disk once, and yield for each piece whether it is intact.

        Damaged pieces are removed as they are found. The caller may stop after any piece.
        """
        for chunk in self.chunks.ids():
            yield self.chunks.sound(chunk)
        for file in self._files.glob(FILES):
            yield from self._scrub_file(file)

    def path(self, blob: bytes) -> Path:
        """A file with the blob's content, made from verified chunks on first use. Read only.

        MissingChunk when a piece is missing, BadContent when the pieces do not fit the manifest.
        """
        manifest = self._require(blob)
        file = self._files / blob.hex()
        if not (file.is_file() and file.stat().st_size == manifest.size):
            write_atomically(file, self._pieces(manifest))
        for used in (file, self._known / blob.hex()):
            with suppress(FileNotFoundError):
                os.utime(used)
        return file

    def file_is_sound(self, blob: bytes) -> bool:
        """Whether the file made from a blob has the blob's bytes. A damaged file is deleted."""
        return all(self._scrub_file(self._files / blob.hex()))

    def files(self) -> dict[bytes, float]:
        """Ids of the blobs that have a file made from them, with its last use (Unix seconds)."""
        return _times(self._files)

    def read(self, blob: bytes) -> bytes:
        """The blob's content, verified; errors as for `path`."""
        return b"".join(self._pieces(self._require(blob)))

    def _scrub_file(self, file: Path) -> Iterator[bool]:
        """Compare a file with the manifest it was made from."""
        manifest = self.manifest(bytes.fromhex(file.name))
        if manifest is None:
            return
        with suppress(FileNotFoundError), file.open("rb") as pieces:
            for index, chunk in enumerate(manifest.chunks):
                if content_id(pieces.read(manifest.length(index))) != chunk:
                    file.unlink(missing_ok=True)
                    yield False
                    return
                yield True

    def _needed(self, blobs: Iterable[bytes]) -> set[bytes]:
        """Ids of all chunks of these blobs, manifests included, and of files being added."""
        needed = {chunk for addition in self._additions for chunk in addition.chunks}
        for blob in blobs:
            manifest = self.manifest(blob)
            needed |= {blob, *manifest.chunks} if manifest else {blob}
        return needed

    def _add(self, pieces: Iterable[bytes], kind: str, name: str) -> Manifest:
        draft = Manifest(0, CHUNK_SIZE, (), kind, name)
        with self._addition() as addition:
            for piece in pieces:
                with self._changing:
                    self._put(piece, addition)
                addition.size += len(piece)
            manifest = replace(draft, size=addition.size, chunks=tuple(addition.chunks))
            with self._changing:
                self._put(manifest.encode(), addition)
                self._mark(manifest.id)
        return manifest

    @contextmanager
    def _addition(self) -> Iterator[_Addition]:
        """Protect the chunks of a file while it is added. A failed addition deletes its chunks."""
        addition = _Addition()
        with self._changing:
            self._additions.append(addition)
        failed = True
        try:
            yield addition
            failed = False
        finally:
            with self._changing:
                self._additions.remove(addition)
                if failed:
                    for chunk in addition.written - self._needed(self.known()):
                        self.chunks.delete(chunk)

    def _put(self, piece: bytes, addition: _Addition) -> None:
        chunk = content_id(piece)
        if not self.chunks.has(chunk):
            addition.written.add(chunk)
        addition.chunks.append(self.chunks.put(piece))

    def _mark(self, blob: bytes) -> None:
        marker = self._known / blob.hex()
        if not marker.exists():
            write_atomically(marker, b"")

    def _require(self, blob: bytes) -> Manifest:
        manifest = self.manifest(blob)
        if manifest is None:
            raise MissingChunk(blob)
        return manifest

    def _pieces(self, manifest: Manifest) -> Iterator[bytes]:
        for index, chunk in enumerate(manifest.chunks):
            piece = self.chunks.get(chunk)
            if len(piece) != manifest.length(index):
                raise BadContent(f"chunk {chunk.hex()} does not have the length its manifest says")
            yield piece


def _times(folder: Path) -> dict[bytes, float]:
    """Modification time (Unix seconds) of each file whose name is an id."""
    found = {}
    for file in folder.glob(FILES):
        with suppress(FileNotFoundError):
            found[bytes.fromhex(file.name)] = file.stat().st_mtime
    return found
