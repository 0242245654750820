from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent
from paris_p2p.records.codec import encode
from paris_p2p.records.manifest import (
    CHUNK_SIZE,
    MANIFEST_LIMIT,
    MAX_CHUNKS,
    MAX_SIZE,
    SMALLEST_CHUNKS,
    Manifest,
    content_id,
)

GOOD = {
    "size": 2 * CHUNK_SIZE + 1,
    "chunk_size": CHUNK_SIZE,
    "chunks": b"abc" * 32,
    "kind": "checkpoint",
    "name": "expert-3.safetensors",
}

sizes = st.integers(0, 40) | st.integers(0, 4 * CHUNK_SIZE)


@given(
    size=sizes, chunk_size=st.sampled_from([SMALLEST_CHUNKS, 1 << 19, CHUNK_SIZE]), data=st.data()
)
def test_a_manifest_comes_back_equal(size: int, chunk_size: int, data: st.DataObject) -> None:
    count = -(-size // chunk_size)
    if count > MAX_CHUNKS:
        return
    chunks = tuple(content_id(bytes([i % 251])) for i in range(count))
    manifest = Manifest(size, chunk_size, chunks, "shard", data.draw(st.sampled_from("ab")))
    assert Manifest.decode(manifest.encode()) == manifest
    assert manifest.id == blake3(manifest.encode()).digest()
    assert sum(manifest.length(i) for i in range(count)) == size


def test_the_largest_manifest_travels_as_a_chunk() -> None:
    largest = Manifest(MAX_SIZE, CHUNK_SIZE, (bytes(32),) * MAX_CHUNKS, "dataset", "n" * 128)
    assert len(largest.encode()) <= MANIFEST_LIMIT
    assert Manifest.decode(largest.encode()) == largest


WRONG = {
    "a size that needs fewer chunks": {"size": 2 * CHUNK_SIZE},
    "a size that needs more chunks": {"size": 3 * CHUNK_SIZE + 1},
    "a negative size": {"size": -1},
    "a size over the limit": {"size": MAX_SIZE + 1},
    "a size that is no integer": {"size": float(2 * CHUNK_SIZE + 1)},
    "chunks of no size": {"chunk_size": 0},
    "a chunk for every byte": {"size": 3, "chunk_size": 1},
    "chunks too large": {"chunk_size": CHUNK_SIZE + 1},
    "half a hash": {"chunks": b"abc" * 32 + b"d" * 16},
    "no hashes": {"chunks": b""},
    "hashes as a list": {"chunks": [b"a" * 32] * 3},
    "more chunks than any file has": {
        "size": MAX_CHUNKS + 1,
        "chunk_size": 1,
        "chunks": bytes(32 * (MAX_CHUNKS + 1)),
    },
    "an unknown kind": {"kind": "virus"},
    "an unknown field": {"mode": 0o777},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_an_inconsistent_manifest_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadContent):
        Manifest.decode(encode({**GOOD, **changes}))


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "a/b", "..", ".bashrc", "a\\b", "", "n" * 129, "a\n", "a\0b", "\u202egnp.exe"],
)
def test_a_name_that_is_not_a_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(BadContent, match=r"^name: "):
        Manifest.decode(encode({**GOOD, "name": name}))


@pytest.mark.parametrize("field", GOOD)
def test_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(BadContent):
        Manifest.decode(encode({name: value for name, value in GOOD.items() if name != field}))


@given(st.binary(max_size=100))
def test_any_bytes_raise_nothing_but_bad_content(data: bytes) -> None:
    with pytest.raises(BadContent):
        Manifest.decode(data)


def test_a_manifest_over_the_limit_is_refused() -> None:
    with pytest.raises(BadContent, match="at most"):
        Manifest.decode(bytes(MANIFEST_LIMIT + 1))
