"""Field bounds, declared once, beside each field of a record.

    @dataclass(frozen=True)
    class Point(Checked):
        x: Annotated[int, Integer(0, 9)]
        label: Annotated[str, Text(16)]

A Checked dataclass can only be made with fields of the declared types and within the declared
bounds, both by local code and from the network. Anything else raises BadContent with the field's
name. A field that has its default value is left out of the encoding, so adding such a field to a
record type does not change the ids of existing records.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, ClassVar, Protocol, Self, get_args, get_origin, get_type_hints

from paris_p2p.errors import BadContent
from paris_p2p.identity import AUTHOR_LENGTH, Author, Identity
from paris_p2p.records.codec import ITEMS, RECORD_LIMIT, encode, seal, unseal


class Bound(Protocol):
    """The values that a field may hold."""

    def read(self, value: object) -> object:
        """`value` in the form that the record keeps. Raises BadContent when it is not allowed."""


@dataclass(frozen=True)
class Integer:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int

    def read(self, value: object) -> object:
        if type(value) is not int or not self.low <= value <= self.high:
            raise BadContent(f"must be an integer from {self.low} to {self.high}")
        return value


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`, both included, kept as a float."""

    low: float
    high: float

    def read(self, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadContent("must be a number")
        if not self.low <= value <= self.high:
            raise BadContent(f"must be a number from {self.low} to {self.high}")
        return float(value)


@dataclass(frozen=True)
class Bytes:
    """Exactly `length` bytes."""

    length: int

    def read(self, value: object) -> object:
        if not isinstance(value, bytes) or len(value) != self.length:
            raise BadContent(f"must be {self.length} bytes")
        return value


@dataclass(frozen=True)
class Data:
    """At most `longest` bytes."""

    longest: int

    def read(self, value: object) -> object:
        if not isinstance(value, bytes) or len(value) > self.longest:
            raise BadContent(f"must be at most {self.longest} bytes")
        return value


@dataclass(frozen=True)
class Text:
    """`shortest` to `longest` printable characters."""

    longest: int
    shortest: int = 0

    def read(self, value: object) -> object:
        if not isinstance(value, str) or not self.shortest <= len(value) <= self.longest:
            raise BadContent(f"must be text of {self.shortest} to {self.longest} characters")
        if not value.isprintable():
            raise BadContent("must be printable text")
        return value


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: object) -> object:
        if value not in self.words:
            raise BadContent(f"must be one of: {', '.join(self.words)}")
        return value


@dataclass(frozen=True)
class Maybe:
    """None, or what `inner` allows."""

    inner: Bound

    def read(self, value: object) -> object:
        return None if value is None else self.inner.read(value)


@dataclass(frozen=True)
class Many:
    """A sequence of `fewest` to `most` items, each within `item`, kept as a tuple."""

    item: Bound
    most: int
    fewest: int = 0

    def read(self, value: object) -> object:
        if not isinstance(value, list | tuple) or not self.fewest <= len(value) <= self.most:
            raise BadContent(f"must be a list of {self.fewest} to {self.most} items")
        return tuple(self.item.read(item) for item in value)


@dataclass(frozen=True)
class Part:
    """Another Checked dataclass, or the map that describes it."""

    of: type[Checked]

    def read(self, value: object) -> object:
        if isinstance(value, self.of):
            return value
        if isinstance(value, dict):
            return self.of.from_body(value)
        raise BadContent("must be a map")


Hash = Annotated[bytes, Bytes(32)]
"""A BLAKE3 digest."""

AuthorKey = Annotated[Author, Bytes(AUTHOR_LENGTH)]

Time = Annotated[float, Number(0.0, 4_102_444_800.0)]
"""Seconds since 1970, until 2100."""

Count = Annotated[int, Integer(0, 2**48)]
"""Steps, images or bytes."""


class Checked:
    """Base of frozen dataclasses whose fields are annotated with bounds."""

    _bounds: ClassVar[Mapping[str, Bound]]

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls._bounds = {
            name: get_args(hint)[1] for name, hint in hints.items() if get_origin(hint) is Annotated
        }

    def __post_init__(self) -> None:
        for name, bound in self._bounds.items():
            try:
                value = bound.read(getattr(self, name))
            except BadContent as error:
                raise BadContent(f"{name}: {error.message}") from error
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise BadContent when fields that are each allowed contradict each other."""

    def to_body(self) -> dict[str, Any]:
        """The fields as `codec.encode` takes them, without those that have their default value."""
        defaults = _defaults(type(self))
        values = {name: getattr(self, name) for name in self._bounds}
        return {
            name: _plain(value)
            for name, value in values.items()
            if name not in defaults or value != defaults[name]
        }

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> Self:
        """The inverse of `to_body`. BadContent for unknown, missing or unbounded fields."""
        _expect_fields(cls._bounds.keys(), {**_defaults(cls), **body}.keys())
        return cls(**body)


class Signed(Checked):
    """A record that its author signs. The author is in the envelope, not in the body."""

    KIND: ClassVar[str]
    LIMIT: ClassVar[int] = RECORD_LIMIT
    ITEMS: ClassVar[int] = ITEMS
    """Most values in the body, counting all fields and their names."""
    author: Author

    def to_body(self) -> dict[str, Any]:
        body = super().to_body()
        del body["author"]
        return body

    def seal(self, identity: Identity) -> bytes:
        """The signed envelope, at most LIMIT bytes. Only the record's author can make it."""
        if identity.author != self.author:
            raise BadContent(f"a {self.KIND} record can only be signed by its author")
        sealed = seal(identity, self.KIND, self.to_body())
        if len(sealed) > self.LIMIT:
            raise BadContent(f"a {self.KIND} record of {len(sealed)} bytes, over {self.LIMIT}")
        return sealed

    @classmethod
    def unseal(cls, sealed: bytes) -> Self:
        """The record in a signed envelope. BadContent unless every part of it is valid."""
        author, body = unseal(sealed, cls.KIND, cls.LIMIT, cls.ITEMS)
        if "author" in body:
            raise BadContent("the author belongs in the envelope")
        record = cls.from_body({**body, "author": author})
        if encode(record.to_body()) != encode(body):
            raise BadContent(f"not the canonical form of this {cls.KIND} record")
        return record


def _defaults(record: type[Any]) -> Mapping[str, object]:
    """The default values of a Checked dataclass's fields that may be left out."""
    return {field.name: field.default for field in fields(record) if field.default is not MISSING}


def _expect_fields(expected: Set[str], found: Set[str]) -> None:
    missing, unknown = expected - found, found - expected
    if missing:
        raise BadContent(f"the field {min(missing)!r} is missing")
    if unknown:
        raise BadContent(f"unknown field {min(unknown)[:32]!r}")


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.to_body() if isinstance(value, Checked) else value
