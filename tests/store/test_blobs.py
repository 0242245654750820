from __future__ import annotations

import errno
import functools
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paris_p2p.errors import BadContent, DiskFull
from paris_p2p.records.manifest import CHUNK_SIZE, SMALLEST_CHUNKS, Manifest, content_id
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore, MissingChunk

INTERESTING_SIZES = {
    0: "no chunk at all",
    1: "one chunk, nearly empty",
    CHUNK_SIZE - 1: "one chunk, nearly full",
    CHUNK_SIZE: "one full chunk, no remainder",
    CHUNK_SIZE + 1: "a remainder of one byte",
    3 * CHUNK_SIZE: "several full chunks",
}


class Place:
    """A store on disk, and what lies in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.chunks = ChunkStore(root / "chunks")
        self.blobs = Blobs(self.chunks, root)

    def files(self) -> set[Path]:
        return {path for path in self.root.rglob("*") if path.is_file()}

    def held(self) -> list[bytes]:
        """Ids of all complete blobs, sorted."""
        return [blob for blob in sorted(self.blobs.known()) if self.blobs.complete(blob)]

    def chunk_file(self, chunk: bytes) -> Path:
        return self.root / "chunks" / chunk.hex()[:2] / chunk.hex()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "here")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Place:
    return Place(tmp_path / "elsewhere")


def content(size: int) -> bytes:
    """The same bytes for the same size, no two chunks alike."""
    return b"".join(index.to_bytes(8, "big") for index in range(-(-size // 8)))[:size]


@pytest.fixture(params=INTERESTING_SIZES.keys(), ids=INTERESTING_SIZES.values())
def data(request: pytest.FixtureRequest) -> bytes:
    return content(request.param)


def test_a_file_comes_back(place: Place, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    manifest = place.blobs.add_file(tmp_path / "source", "checkpoint", "weights")
    assert (manifest.size, manifest.chunk_size, manifest.name) == (len(data), CHUNK_SIZE, "weights")
    assert place.blobs.manifest(manifest.id) == manifest
    assert place.blobs.complete(manifest.id)
    assert place.blobs.path(manifest.id).read_bytes() == data
    assert place.blobs.read(manifest.id) == data


def test_bytes_and_a_file_make_the_same_blob(place: Place, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    from_file = place.blobs.add_file(tmp_path / "source", "shard", "s")
    assert place.blobs.add_bytes(data, "shard", "s") == from_file
    assert place.held() == [from_file.id]


def test_a_blob_travels_chunk_by_chunk(place: Place, elsewhere: Place, data: bytes) -> None:
    sent = elsewhere.blobs.add_bytes(data, "shard", "s")
    received = place.blobs.add_manifest(elsewhere.chunks.get(sent.id))
    assert received == sent
    for chunk in place.blobs.missing(received):
        assert not place.blobs.complete(received.id)
        assert place.held() == []
        place.chunks.put(elsewhere.chunks.get(chunk))
    assert place.held() == [received.id]
    assert place.blobs.read(received.id) == data


def test_a_chunk_that_occurs_twice_is_kept_and_asked_for_once(place: Place) -> None:
    manifest = place.blobs.add_bytes(bytes(3 * CHUNK_SIZE), "shard", "zeros")
    assert len(manifest.chunks) == 3
    place.chunks.delete(manifest.chunks[0])
    assert place.blobs.missing(manifest) == [manifest.chunks[0]]


def test_what_is_kept_is_there_after_opening_again(place: Place, data: bytes) -> None:
    manifest = place.blobs.add_bytes(data, "shard", "s")
    again = Place(place.root)
    assert again.held() == [manifest.id]
    assert again.blobs.read(manifest.id) == data


def test_an_ordinary_chunk_is_no_manifest(place: Place) -> None:
    chunk = place.chunks.put(b"data")
    assert place.blobs.manifest(chunk) is None
    assert not place.blobs.complete(chunk)
    with pytest.raises(MissingChunk):
        place.blobs.path(chunk)


def test_bytes_that_are_no_manifest_are_refused_and_not_kept(place: Place) -> None:
    with pytest.raises(BadContent):
        place.blobs.add_manifest(b"data")
    assert place.files() == set()


@pytest.mark.parametrize(("kind", "name"), [("virus", "s"), ("shard", "../s")])
def test_a_bad_name_is_refused_before_anything_is_written(
    place: Place, kind: str, name: str
) -> None:
    with pytest.raises(BadContent):
        place.blobs.add_bytes(b"data", kind, name)
    assert place.files() == set()


def test_a_damaged_chunk_is_reported_and_can_be_fetched_again(place: Place) -> None:
    data = content(2 * CHUNK_SIZE)
    manifest = place.blobs.add_bytes(data, "shard", "s")
    damaged = manifest.chunks[1]
    place.chunk_file(damaged).write_bytes(b"damage")
    with pytest.raises(MissingChunk) as refusal:
        place.blobs.path(manifest.id)
    assert refusal.value.chunk == damaged
    assert place.blobs.missing(manifest) == [damaged]
    assert place.held() == []
    place.chunks.put(data[CHUNK_SIZE:])
    assert place.blobs.path(manifest.id).read_bytes() == data


def test_a_damaged_manifest_makes_the_blob_unknown(place: Place) -> None:
    manifest = place.blobs.add_bytes(b"data", "shard", "s")
    place.chunk_file(manifest.id).write_bytes(b"damage")
    assert place.blobs.manifest(manifest.id) is None
    assert place.held() == []


@pytest.mark.parametrize("size", [3, 5])
def test_chunks_that_do_not_fit_their_manifest_are_refused(place: Place, size: int) -> None:
    chunk = place.chunks.put(b"four")
    lying = Manifest(size, CHUNK_SIZE, (chunk,), "shard", "s")
    place.blobs.add_manifest(lying.encode())
    with pytest.raises(BadContent, match="length its manifest says"):
        place.blobs.path(lying.id)
    with pytest.raises(BadContent, match="length its manifest says"):
        place.blobs.read(lying.id)
    assert not any(path.parent.name == "files" for path in place.files())


def test_a_file_is_made_once(place: Place) -> None:
    manifest = place.blobs.add_bytes(b"data", "shard", "s")
    first = place.blobs.path(manifest.id).stat()
    assert place.blobs.path(manifest.id).stat().st_ino == first.st_ino


@pytest.mark.parametrize("damage", [b"dat", b"data and more"])
def test_a_file_of_the_wrong_size_is_made_again(place: Place, damage: bytes) -> None:
    manifest = place.blobs.add_bytes(b"data", "shard", "s")
    place.blobs.path(manifest.id).write_bytes(damage)
    assert place.blobs.path(manifest.id).read_bytes() == b"data"


def test_threads_that_make_one_file_do_not_disturb_each_other(place: Place) -> None:
    data = content(3 * CHUNK_SIZE)
    blob = place.blobs.add_bytes(data, "shard", "s").id
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: place.blobs.path(blob), range(8)))
    assert [path.read_bytes() for path in paths] == [data]
    assert len(list(next(iter(paths)).parent.iterdir())) == 1


def test_threads_that_add_the_same_file_make_one_blob(place: Place) -> None:
    data = content(2 * CHUNK_SIZE + 1)
    with ThreadPoolExecutor(8) as pool:
        added = set(pool.map(lambda _: place.blobs.add_bytes(data, "shard", "s"), range(8)))
    assert place.held() == [manifest.id for manifest in added]


class SlowFile:
    """A file that gives one chunk and then waits to be told to end, or to break."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._pieces: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._feed, daemon=True).start()

    def give(self, piece: bytes | None) -> None:
        """The next piece; None ends the file."""
        self._pieces.put(piece)

    def _feed(self) -> None:
        with self.path.open("wb") as pipe:
            while (piece := self._pieces.get()) is not None:
                pipe.write(piece)
                pipe.flush()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_waits_while_a_long_file_is_added_and_nothing_takes_its_chunks(
    place: Place, elsewhere: Place, tmp_path: Path
) -> None:
    data = content(2 * CHUNK_SIZE)
    other = place.blobs.add_bytes(data[:CHUNK_SIZE] + b"other", "shard", "other")
    sent = elsewhere.blobs.add_bytes(b"sent", "shard", "sent")
    source = SlowFile(tmp_path / "pipe")
    with ThreadPoolExecutor(8) as pool:
        adding = pool.submit(place.blobs.add_file, source.path, "checkpoint", "long")
        source.give(data[CHUNK_SIZE:])
        source.give(data[:CHUNK_SIZE])
        last = content_id(data[CHUNK_SIZE:])
        wait_for(lambda: place.chunks.has(last))
        try:
            for work in (
                functools.partial(place.blobs.note_use, other.id, 1000.0),
                functools.partial(place.blobs.add_manifest, sent.encode()),
                functools.partial(place.blobs.drop, other.id),
                functools.partial(place.blobs.sweep, (), time.time() + 60),
            ):
                pool.submit(work).result(timeout=10)
            assert not adding.done()
        finally:
            source.give(None)
        blob = adding.result(timeout=10)
    assert place.blobs.read(blob.id) == data[CHUNK_SIZE:] + data[:CHUNK_SIZE]


def test_an_addition_that_fails_leaves_what_another_shares_with_it(place: Place) -> None:
    data = content(2 * CHUNK_SIZE)
    others: list[Manifest] = []

    def pieces() -> Iterator[bytes]:
        yield data[:CHUNK_SIZE]
        others.append(place.blobs.add_bytes(data, "shard", "other"))
        yield b"of its own"
        raise OSError("the file cannot be read any further")

    with pytest.raises(OSError, match="any further"):
        place.blobs._add(pieces(), "checkpoint", "broken")
    assert place.blobs.read(others[0].id) == data
    assert not place.chunks.has(content_id(b"of its own"))


def test_a_full_disk_takes_back_what_was_added(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = content(CHUNK_SIZE)
    kept = place.blobs.add_bytes(shared, "shard", "kept")
    before = place.files()
    write, writes = os.write, iter(range(100))

    def fill_up(file: int, data: bytes) -> int:
        if next(writes) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    monkeypatch.setattr(os, "write", fill_up)
    with pytest.raises(DiskFull):
        place.blobs.add_bytes(content(3 * CHUNK_SIZE), "shard", "too much")
    assert place.files() == before
    assert place.blobs.read(kept.id) == shared


def test_a_full_disk_leaves_no_half_made_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    manifest = place.blobs.add_bytes(b"data", "shard", "s")
    before = place.files()
    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "fsync", no_room)
        with pytest.raises(DiskFull):
            place.blobs.path(manifest.id)
    assert place.files() == before
    assert place.blobs.path(manifest.id).read_bytes() == b"data"


def test_what_a_killed_process_left_is_swept_on_opening(place: Place) -> None:
    manifest = place.blobs.add_bytes(b"data", "shard", "s")
    leftover = place.blobs.path(manifest.id).parent / ".name.0123abcd.partial"
    leftover.write_bytes(b"half")
    Place(place.root)
    assert not leftover.exists()


def test_a_manifest_is_named_by_the_hash_of_its_chunk(place: Place) -> None:
    manifest = place.blobs.add_bytes(b"data", "shard", "s")
    assert content_id(place.chunks.get(manifest.id)) == manifest.id


def test_a_dropped_blob_leaves_the_chunks_that_others_share(place: Place) -> None:
    shared = content(CHUNK_SIZE)
    kept = place.blobs.add_bytes(shared + b"kept", "checkpoint", "kept")
    before = place.files()
    gone = place.blobs.add_bytes(shared + b"gone", "checkpoint", "gone")
    place.blobs.path(gone.id)

    place.blobs.drop(gone.id)
    place.blobs.drop(gone.id)

    assert place.files() == before
    assert place.blobs.known().keys() == {kept.id}
    assert place.blobs.read(kept.id) == shared + b"kept"


def test_a_blob_that_never_arrived_whole_can_be_dropped(place: Place, elsewhere: Place) -> None:
    sent = elsewhere.blobs.add_bytes(content(3 * CHUNK_SIZE), "checkpoint", "s")
    place.blobs.add_manifest(elsewhere.chunks.get(sent.id))
    place.chunks.put(elsewhere.chunks.get(sent.chunks[1]))
    place.blobs.drop(sent.id)
    assert place.files() == set()


def killed_after(effects: int, work: Callable[[], None]) -> bool:
    """Do `work` in a process that kills itself before its next deletion; False when it finished."""
    child = os.fork()
    if child == 0:
        delete, left = Path.unlink, iter(range(effects))

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            delete(path, missing_ok)

        Path.unlink = unlink  # type: ignore[method-assign]
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def test_killed_between_any_two_effects_of_a_drop_the_store_is_sound(tmp_path: Path) -> None:
    shared = content(CHUNK_SIZE)
    effects, killed = 0, True
    while killed:
        place = Place(tmp_path / str(effects))
        kept = place.blobs.add_bytes(shared + b"kept", "checkpoint", "kept")
        place.blobs.path(kept.id)
        before = place.files()
        gone = place.blobs.add_bytes(shared + content(CHUNK_SIZE + 9)[9:], "checkpoint", "gone")
        place.blobs.path(gone.id)

        killed = killed_after(effects, functools.partial(place.blobs.drop, gone.id))

        again = Place(place.root)
        assert again.blobs.read(kept.id) == shared + b"kept"
        assert (gone.id in again.blobs.known()) == killed
        again.blobs.drop(gone.id)
        assert again.files() == before
        effects += 1
    assert effects > 3


def test_what_a_killed_addition_left_is_swept_and_nothing_else(place: Place) -> None:
    kept = place.blobs.add_bytes(content(CHUNK_SIZE + 1), "shard", "kept")
    record = place.chunks.put(b"a record that is no file")
    before = place.files()
    stray = place.chunks.put(b"no manifest names this")
    now = time.time()

    assert place.blobs.sweep({record}, before=now - 60) == 0
    assert place.blobs.sweep({record}, before=now + 60) == 1

    assert place.files() == before
    assert not place.chunks.has(stray)
    assert place.blobs.complete(kept.id)


def test_nothing_is_swept_while_a_manifest_is_damaged(place: Place) -> None:
    manifest = place.blobs.add_bytes(content(CHUNK_SIZE + 1), "shard", "s")
    encoded = place.chunks.get(manifest.id)
    place.chunk_file(manifest.id).write_bytes(b"damage")
    assert place.blobs.sweep((), before=time.time() + 60) == 0
    place.blobs.add_manifest(encoded)
    assert place.blobs.complete(manifest.id)


def test_the_time_of_last_use_is_kept_on_disk(place: Place) -> None:
    blob = place.blobs.add_bytes(b"data", "shard", "s").id
    place.blobs.note_use(blob, 1000.0)
    place.blobs.note_use(bytes(32), 1000.0)
    assert Place(place.root).blobs.known() == {blob: 1000.0}
    place.blobs.path(blob)
    assert place.blobs.known()[blob] > 1000.0


def test_what_is_no_manifest_never_becomes_a_known_blob(place: Place) -> None:
    stray = place.chunks.put(b"a piece of something")
    place.blobs.note_use(stray, 1000.0)
    assert place.blobs.known() == {}
    assert place.blobs.sweep((), before=time.time() + 60) == 1


def test_usage_counts_the_files_made_of_chunks_too(place: Place) -> None:
    blob = place.blobs.add_bytes(b"data", "shard", "s").id
    without = place.blobs.usage()
    place.blobs.path(blob)
    assert place.blobs.usage() == without + len(b"data")
    assert place.blobs.files().keys() == {blob}
    place.blobs.drop_file(blob)
    assert place.blobs.usage() == without
    assert place.blobs.complete(blob)


def test_a_scrub_removes_what_is_damaged_and_nothing_else(place: Place) -> None:
    sound = place.blobs.add_bytes(content(2 * CHUNK_SIZE), "shard", "sound")
    rotten = place.blobs.add_bytes(b"rotten", "shard", "rotten")
    copied = place.blobs.path(sound.id)
    assert all(place.blobs.scrub())

    place.chunk_file(rotten.chunks[0]).write_bytes(b"rotteN")
    data = copied.read_bytes()
    copied.write_bytes(data[:-1] + b"?")
    pieces = list(place.blobs.scrub())

    assert pieces.count(False) == 2
    assert not place.blobs.complete(rotten.id)
    assert place.blobs.complete(sound.id)
    assert place.blobs.path(sound.id).read_bytes() == data


@pytest.mark.parametrize("chunk_size", [SMALLEST_CHUNKS, CHUNK_SIZE - 1, CHUNK_SIZE])
def test_a_scrub_finds_files_sound_whatever_the_size_of_their_chunks(
    place: Place, chunk_size: int
) -> None:
    data = content(2 * CHUNK_SIZE + 1)
    pieces = [data[start : start + chunk_size] for start in range(0, len(data), chunk_size)]
    chunks = tuple(map(place.chunks.put, pieces))
    blob = Manifest(len(data), chunk_size, chunks, "shard", "s")
    place.blobs.add_manifest(blob.encode())
    file = place.blobs.path(blob.id)

    assert all(place.blobs.scrub())
    assert file.read_bytes() == data

    file.write_bytes(data[:-1] + b"?")
    assert list(place.blobs.scrub()).count(False) == 1
    assert not file.exists()
