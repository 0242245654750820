from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3

from paris_p2p.errors import BadContent, DiskFull
from paris_p2p.records.manifest import CHUNK_SIZE
from paris_p2p.store.chunks import ChunkStore, MissingChunk

ABSENT = bytes(32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "chunks"


@pytest.fixture
def store(root: Path) -> ChunkStore:
    return ChunkStore(root)


def file_of(root: Path, chunk: bytes) -> Path:
    return root / chunk.hex()[:2] / chunk.hex()


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE], ids=["empty", "smallest", "largest"])
def test_a_chunk_comes_back_under_its_hash(store: ChunkStore, size: int) -> None:
    data = os.urandom(size)
    chunk = store.put(data)
    assert chunk == blake3(data).digest()
    assert store.has(chunk)
    assert store.get(chunk) == data


def test_a_chunk_over_the_limit_is_refused(store: ChunkStore) -> None:
    with pytest.raises(BadContent, match="over 1048576"):
        store.put(bytes(CHUNK_SIZE + 1))
    assert list(store.ids()) == []


def test_what_was_never_put_is_missing(store: ChunkStore) -> None:
    assert not store.has(ABSENT)
    with pytest.raises(MissingChunk) as refusal:
        store.get(ABSENT)
    assert refusal.value.chunk == ABSENT


@pytest.mark.parametrize("name", [b"", b"x", bytes(33)])
def test_an_id_of_another_length_is_refused(store: ChunkStore, name: bytes) -> None:
    with pytest.raises(BadContent, match="32 bytes"):
        store.get(name)


def test_ids_and_usage_count_each_chunk_once(store: ChunkStore) -> None:
    chunks = {store.put(data) for data in (b"one", b"three", b"one")}
    assert set(store.ids()) == chunks
    assert len(list(store.ids())) == 2
    assert store.usage() == len(b"one") + len(b"three")


def test_foreign_files_in_the_folder_are_not_counted(store: ChunkStore, root: Path) -> None:
    chunk = store.put(b"data")
    file_of(root, chunk).with_name("z" * 64).write_bytes(b"foreign")
    (root / "manifests").mkdir()
    assert list(store.ids()) == [chunk]
    assert store.usage() == len(b"data")


def test_a_deleted_chunk_is_gone(store: ChunkStore) -> None:
    chunk = store.put(b"data")
    store.delete(chunk)
    store.delete(chunk)
    assert not store.has(chunk)
    assert store.usage() == 0


def test_chunks_are_private_files(store: ChunkStore, root: Path) -> None:
    assert file_of(root, store.put(b"data")).stat().st_mode & 0o777 == 0o600


def test_a_store_keeps_its_chunks_when_opened_again(store: ChunkStore, root: Path) -> None:
    chunk = store.put(b"data")
    assert ChunkStore(root).get(chunk) == b"data"


DAMAGE = {
    "changed": b"dat4",
    "cut short": b"dat",
    "emptied": b"",
    "grown": b"data and more",
    "grown over the limit": bytes(2 * CHUNK_SIZE),
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_chunk_is_removed_and_missing(
    store: ChunkStore, root: Path, content: bytes
) -> None:
    chunk = store.put(b"data")
    file_of(root, chunk).write_bytes(content)
    with pytest.raises(MissingChunk):
        store.get(chunk)
    assert not store.has(chunk)


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_putting_a_damaged_chunk_again_heals_it(
    store: ChunkStore, root: Path, content: bytes
) -> None:
    chunk = store.put(b"data")
    file_of(root, chunk).write_bytes(content)
    store.put(b"data")
    assert store.get(chunk) == b"data"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_no_trace(
    store: ChunkStore, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def no_room(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = store.put(b"kept")
    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, call, no_room)
        with pytest.raises(DiskFull):
            store.put(b"data")
    assert [path for path in root.rglob("*") if path.is_file()] == [file_of(root, kept)]
    assert store.get(store.put(b"data")) == b"data"


def test_what_a_killed_process_left_is_swept_on_opening(store: ChunkStore, root: Path) -> None:
    chunk = store.put(b"data")
    leftover = file_of(root, chunk).parent / f".{chunk.hex()}.0123abcd.partial"
    leftover.write_bytes(b"half")
    assert list(ChunkStore(root).ids()) == [chunk]
    assert not leftover.exists()


def test_many_threads_may_put_and_get_the_same_chunk(store: ChunkStore, root: Path) -> None:
    data, threads = os.urandom(CHUNK_SIZE), 8
    together = threading.Barrier(threads)

    def put_and_get(_: int) -> bytes:
        together.wait()
        return store.get(store.put(data))

    with ThreadPoolExecutor(threads) as pool:
        assert set(pool.map(put_and_get, range(threads))) == {data}
    assert len([path for path in root.rglob("*") if path.is_file()]) == 1
