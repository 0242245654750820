"""Finished pictures are kept for a while, and not for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paris_p2p.peer.sampling import picture_cache
from paris_p2p.peer.sampling.picture_cache import MOST_PICTURES, PictureCache


def draw(cache: PictureCache, number: int, size: int = 1) -> Path:
    path = cache.place(f"job-{number}")
    path.write_bytes(bytes(size))
    os.utime(path, (number, number))
    return path


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path / "pictures")
    drawn = [draw(cache, number) for number in range(MOST_PICTURES + 5)]
    assert sorted((tmp_path / "pictures").iterdir()) == sorted(drawn[-MOST_PICTURES:])


def test_they_take_no_more_room_than_they_may_but_for_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_cache, "MOST_BYTES", 100)
    cache = PictureCache(tmp_path / "pictures")
    drawn = [draw(cache, number, 60) for number in range(3)]
    cache.place("next")
    assert [path for path in drawn if path.exists()] == drawn[-1:]
    large = draw(cache, 9, 500)
    cache.place("next")
    assert [path for path in (*drawn, large) if path.exists()] == [large]


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path / "pictures")
    left = cache.place("one").with_name(".one.png.abcd.partial")
    left.write_bytes(b"half")
    cache.place("two")
    assert not left.exists()
