from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.records.fields import (
    Bound,
    Bytes,
    Checked,
    Data,
    Integer,
    Many,
    Maybe,
    Number,
    OneOf,
    Part,
    Text,
)


@dataclass(frozen=True)
class Point(Checked):
    x: Annotated[int, Integer(0, 9)]
    y: Annotated[int, Integer(0, 9)]

    def check(self) -> None:
        if self.x > self.y:
            raise BadContent("x: beyond y")


@dataclass(frozen=True)
class Path(Checked):
    points: Annotated[tuple[Point, ...], Many(Part(Point), most=3)]


ALLOWED: list[tuple[Bound, object, object]] = [
    (Integer(-1, 9), -1, -1),
    (Integer(-1, 9), 9, 9),
    (Number(0.0, 1.0), 1, 1.0),
    (Number(0.0, 1.0), 0.5, 0.5),
    (Bytes(2), b"ab", b"ab"),
    (Data(2), b"", b""),
    (Data(2), b"ab", b"ab"),
    (Text(3), "", ""),
    (Text(3), "äöü", "äöü"),
    (OneOf(("a", "b")), "b", "b"),
    (Maybe(Bytes(1)), None, None),
    (Maybe(Bytes(1)), b"a", b"a"),
    (Many(Integer(0, 9), most=2), [1, 2], (1, 2)),
    (Part(Point), {"x": 1, "y": 2}, Point(1, 2)),
    (Part(Point), Point(1, 2), Point(1, 2)),
]

REFUSED: list[tuple[Bound, object]] = [
    (Integer(-1, 9), -2),
    (Integer(-1, 9), 10),
    (Integer(0, 1), True),
    (Integer(0, 1), 1.0),
    (Number(0.0, 1.0), True),
    (Number(0.0, 1.0), 1.1),
    (Number(0.0, 1.0), float("nan")),
    (Number(0.0, 1.0), float("inf")),
    (Number(0.0, 1.0), 10**400),
    (Number(0.0, 1.0), "1"),
    (Bytes(2), b"abc"),
    (Bytes(2), "ab"),
    (Data(2), b"abc"),
    (Data(2), "ab"),
    (Text(3), "abcd"),
    (Text(3, shortest=1), ""),
    (Text(9), b"bytes"),
    (Text(9), "line\n"),
    (Text(9), "nul\0"),
    (Text(9), "\x1b[2J"),
    (Text(9), "\u202egnp."),
    (OneOf(("a", "b")), "c"),
    (OneOf(("a", "b")), ["a"]),
    (Maybe(Bytes(1)), b""),
    (Many(Integer(0, 9), most=2), [1, 2, 3]),
    (Many(Integer(0, 9), most=2, fewest=1), []),
    (Many(Integer(0, 9), most=2), [10]),
    (Many(Integer(0, 9), most=2), {1: 2}),
    (Part(Point), [1, 2]),
    (Part(Point), {"x": 2, "y": 1}),
]


@pytest.mark.parametrize(("bound", "value", "kept"), ALLOWED)
def test_a_bound_keeps_what_it_allows(bound: Bound, value: object, kept: object) -> None:
    assert bound.read(value) == kept
    assert type(bound.read(value)) is type(kept)


@pytest.mark.parametrize(("bound", "value"), REFUSED)
def test_a_bound_refuses_the_rest(bound: Bound, value: object) -> None:
    with pytest.raises(BadContent):
        bound.read(value)


def test_an_error_names_the_field_and_the_field_within() -> None:
    with pytest.raises(BadContent, match="points: y: must be an integer from 0 to 9"):
        Path.from_body({"points": [{"x": 1, "y": 10}]})


def test_nested_records_become_a_body_and_come_back() -> None:
    path = Path((Point(1, 2), Point(3, 3)))
    assert path.to_body() == {"points": [{"x": 1, "y": 2}, {"x": 3, "y": 3}]}
    assert Path.from_body(path.to_body()) == path


def test_fields_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(BadContent, match="beyond"):
        Point(2, 1)


@dataclass(frozen=True)
class Note(Checked):
    text: Annotated[str, Text(9)]
    tags: Annotated[tuple[str, ...], Many(Text(9), most=3)] = ()


def test_a_field_is_left_out_while_it_has_its_default() -> None:
    assert Note("a").to_body() == {"text": "a"}
    assert Note.from_body({"text": "a"}) == Note("a")
    tagged = Note("a", ("b",))
    assert tagged.to_body() == {"text": "a", "tags": ["b"]}
    assert Note.from_body(tagged.to_body()) == tagged


def test_a_field_without_a_default_is_still_required() -> None:
    with pytest.raises(BadContent, match="'text' is missing"):
        Note.from_body({"tags": []})
