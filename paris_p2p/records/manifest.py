"""A manifest: one file as the ordered list of its chunks. Its BLAKE3 is the file's id."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from blake3 import blake3

from paris_p2p.errors import BadContent
from paris_p2p.records.codec import decode, encode
from paris_p2p.records.fields import Bytes, Checked, Integer, Many, OneOf, Text

CHUNK_SIZE = 1 << 20
"""Bytes in every chunk of a file except the last."""

SMALLEST_CHUNKS = 1 << 16
"""Smallest allowed chunk size in bytes: chunks of one byte would cost a file on disk each."""

MANIFEST_LIMIT = 1 << 20
"""Most bytes of an encoded manifest: it travels as a chunk."""

MAX_SIZE = 24 << 30
"""Most bytes of a file."""

MAX_CHUNKS = MAX_SIZE // CHUNK_SIZE
_HASH_LENGTH = 32


def content_id(data: bytes | memoryview) -> bytes:
    """The 32-byte BLAKE3 that names these bytes."""
    return blake3(data).digest()


@dataclass(frozen=True)
class Manifest(Checked):
    """The chunks of a file. `name` is for people; nothing is ever written under it unasked."""

    size: Annotated[int, Integer(0, MAX_SIZE)]
    chunk_size: Annotated[int, Integer(SMALLEST_CHUNKS, CHUNK_SIZE)]
    chunks: Annotated[tuple[bytes, ...], Many(Bytes(_HASH_LENGTH), most=MAX_CHUNKS)]
    kind: Annotated[str, OneOf(("run", "shard", "checkpoint", "resume", "encoder", "dataset"))]
    name: Annotated[str, Text(128, shortest=1)]

    def check(self) -> None:
        needed = -(-self.size // self.chunk_size)
        if len(self.chunks) != needed:
            raise BadContent(f"chunks: {len(self.chunks)} of them where the size needs {needed}")
        if self.name.startswith(".") or "/" in self.name or "\\" in self.name:
            raise BadContent("name: must be a plain file name, without folders or a leading dot")

    @cached_property
    def id(self) -> bytes:
        """BLAKE3 of the encoded manifest."""
        return content_id(self.encode())

    def length(self, index: int) -> int:
        """Bytes in chunk `index`."""
        return min(self.chunk_size, self.size - index * self.chunk_size)

    def encode(self) -> bytes:
        """Canonical bytes, chunk hashes joined into one string: 24 GiB of file take 768 KiB."""
        return encode({**self.to_body(), "chunks": b"".join(self.chunks)})

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The inverse of `encode`. BadContent for anything but a consistent manifest."""
        body = decode(data, MANIFEST_LIMIT, items=2 * len(cls._bounds))
        if not isinstance(body, dict) or not isinstance(body.get("chunks"), bytes):
            raise BadContent("not a manifest")
        joined = body["chunks"]
        chunks = [joined[i : i + _HASH_LENGTH] for i in range(0, len(joined), _HASH_LENGTH)]
        return cls.from_body({**body, "chunks": chunks})
