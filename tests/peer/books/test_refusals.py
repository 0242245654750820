"""Refusals are kept, bounded and reported."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from paris_p2p.peer.books import refusals as module
from paris_p2p.peer.books.refusals import MAX_TEXT, MOST_CONDEMNED, MOST_NOTES, Refusals

AUTHOR = b"\x01" * 32


def _refusals(file: Path | None = None) -> Refusals:
    ticks = itertools.count()
    return Refusals(file, lambda: float(next(ticks)))


def test_condemned_content_stays_condemned_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "refusals.json"
    _refusals(file).condemn(b"\x02" * 32, AUTHOR, "head of expert 3", "its weights are not finite")

    again = _refusals(file)

    assert again.is_condemned(b"\x02" * 32, AUTHOR)
    assert not again.is_condemned(b"\x03" * 32, AUTHOR)
    assert [refusal.reason for refusal in again.all()] == ["its weights are not finite"]


def test_one_author_is_condemned_for_a_content_and_another_is_not() -> None:
    refusals = _refusals()
    refusals.condemn(b"\x02" * 32, AUTHOR, "head of expert 3", "it diverges")

    assert not refusals.is_condemned(b"\x02" * 32, b"\x09" * 32)
    assert refusals.has_condemned(b"\x02" * 32)


def test_a_damaged_file_is_forgotten_and_written_again(tmp_path: Path) -> None:
    file = tmp_path / "refusals.json"
    file.write_text('[{"what": 3')

    refusals = _refusals(file)
    refusals.condemn(b"\x02" * 32, AUTHOR, "head", "bad")

    assert _refusals(file).is_condemned(b"\x02" * 32, AUTHOR)


def test_it_stays_bounded_and_forgets_the_oldest() -> None:
    refusals = _refusals()
    for number in range(MOST_CONDEMNED + 1):
        refusals.condemn(number.to_bytes(32, "big"), AUTHOR, "head", "bad")
    for number in range(MOST_NOTES + 5):
        refusals.note(AUTHOR, f"provider {number}", "lied")

    assert len(refusals.all()) == MOST_CONDEMNED + MOST_NOTES
    assert not refusals.is_condemned((0).to_bytes(32, "big"), AUTHOR)
    assert refusals.is_condemned(MOST_CONDEMNED.to_bytes(32, "big"), AUTHOR)


def test_who_signs_the_most_lies_makes_nobody_elses_forgotten() -> None:
    refusals, other = _refusals(), b"\x09" * 32
    refusals.condemn(b"\xff" * 32, other, "head", "bad")
    for number in range(MOST_CONDEMNED + 9):
        refusals.condemn(number.to_bytes(32, "big"), AUTHOR, "head", "bad")

    assert len(refusals.all()) == MOST_CONDEMNED
    assert refusals.is_condemned(b"\xff" * 32, other)


def test_what_is_condemned_whoever_names_it_stays_so_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "refusals.json"
    _refusals(file).condemn(b"\x02" * 32, None, "content", "it is no manifest")

    assert _refusals(file).is_condemned(b"\x02" * 32, AUTHOR)


def test_nobody_who_asks_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, answers = _refusals(tmp_path / "refusals.json"), list[bool]()

    def write(file: Path, data: bytes) -> None:
        asking = threading.Thread(
            target=lambda: answers.append(refusals.has_condemned(b"\x02" * 32)), daemon=True
        )
        asking.start()
        asking.join(5)

    monkeypatch.setattr(module, "write_atomically", write)
    refusals.condemn(b"\x02" * 32, AUTHOR, "head", "bad")

    assert answers == [True]


def test_what_happens_again_is_counted_not_listed_again() -> None:
    refusals = _refusals()
    for _ in range(3):
        refusals.note(AUTHOR, "provider", "lied")

    assert [(refusal.what, refusal.times) for refusal in refusals.all()] == [("provider", 3)]


def test_a_reason_is_safe_to_print_and_short() -> None:
    refusals = _refusals()
    refusals.note(None, "record", "\x1b[2J" + "a" * 1000)

    (refusal,) = refusals.all()
    assert "\x1b" not in refusal.reason
    assert len(refusal.reason) == MAX_TEXT
