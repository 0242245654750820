"""How inputs are made: what is valid, bent a little, or in one place beyond reason."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from paris_p2p.errors import BadContent
from paris_p2p.records.codec import encode

TAGS = bytes.fromhex("808f909fa0bfc0c1c4c6c7c9cacbcfd3d4d8d9dbdcdddedfe0ff007f")
"""First bytes of every kind of msgpack value."""

LONG_HEADERS = (b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc6\xff\xff\xff\xff")
"""A list, a map and a byte string that say they are enormous."""

LEAVES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**48, 2**48 + 1, 2**63, -(2**63), 2**64 - 1),
    *(0.0, -0.0, -1.0, 1e-300, 1e308, 4_102_444_801.0),
    *("", "\0", "\x1b[2J", "‮", "é", "../../etc/passwd", "a" * 200, "ab" * 32, "content"),
    *(b"", b"\0", bytes(31), bytes(32), bytes(33), bytes(64), b"\xff" * 200),
    *([], [[]], [None] * 20, {}, {"": None}, {"author": bytes(32)}),
)
"""Values at the edges of what fields allow."""


class Mutator:
    """Bends inputs. Everything it does follows from `rng`."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def garbage(self, most: int = 300) -> bytes:
        """Bytes that mean nothing, or begin as if they did."""
        start = bytes([self.rng.choice(TAGS)]) if self.rng.random() < 0.5 else b""
        return start + self.rng.randbytes(self.rng.randrange(most))

    def bent(self, data: bytes) -> bytes:
        """`data` with one to four small injuries."""
        for _ in range(self.rng.randint(1, 4)):
            data = self._injured(data)
        return data

    def value(self, value: Any) -> Any:
        """A value like this one, different in one to three places."""
        for _ in range(self.rng.randint(1, 3)):
            value = self._changed(value)
        return value

    def encoded(self, value: Any) -> bytes:
        """The encoding of a value like this one; of this one when that has none."""
        try:
            return encode(self.value(value))
        except BadContent:
            return encode(value)

    def text(self, text: str, parts: Sequence[str]) -> str:
        """`text` with pieces cut, doubled, or replaced by one of `parts`."""
        for _ in range(self.rng.randint(1, 3)):
            start, end = sorted(self.rng.randrange(len(text) + 1) for _ in range(2))
            middle = self.rng.choice(("", text[start:end] * 2, self.rng.choice(parts)))
            text = text[:start] + middle + text[end:]
        return text

    def _injured(self, data: bytes) -> bytes:
        injury: Callable[[bytes, int, int], bytes] = self.rng.choice(
            (self._flip, self._replace, self._cut, self._insert, self._repeat, self._shorten)
        )
        start, end = sorted(self.rng.randrange(len(data) + 1) for _ in range(2))
        return injury(data, start, min(end, start + 64))

    def _flip(self, data: bytes, start: int, end: int) -> bytes:
        flipped = bytes([data[start] ^ (1 << self.rng.randrange(8))]) if start < len(data) else b""
        return data[:start] + flipped + data[start + 1 :]

    def _replace(self, data: bytes, start: int, end: int) -> bytes:
        return data[:start] + bytes([self.rng.choice(TAGS)]) + data[start + 1 :]

    def _cut(self, data: bytes, start: int, end: int) -> bytes:
        return data[:start] + data[end:]

    def _insert(self, data: bytes, start: int, end: int) -> bytes:
        inserted = self.rng.choice((*LONG_HEADERS, self.rng.randbytes(4), bytes(8), b"\x91" * 300))
        return data[:start] + inserted + data[start:]

    def _repeat(self, data: bytes, start: int, end: int) -> bytes:
        return data[:end] + data[start:end] * self.rng.randint(1, 8) + data[end:]

    def _shorten(self, data: bytes, start: int, end: int) -> bytes:
        return data[:start]

    def _changed(self, value: Any) -> Any:
        """One change, at this level or, for what has inside, mostly below it."""
        if isinstance(value, dict) and value and self.rng.random() < 0.9:
            return self._changed_map(value)
        if isinstance(value, list | tuple) and value and self.rng.random() < 0.9:
            return self._changed_list(list(value))
        return self._changed_leaf(value)

    def _changed_map(self, value: dict[str, Any]) -> dict[str, Any]:
        name = self.rng.choice(list(value))
        rest = {key: item for key, item in value.items() if key != name}
        match self.rng.randrange(10):
            case 0:
                return rest
            case 1:
                return {**value, self.rng.choice(("extra", "author", "", "\0")): value[name]}
            case _:
                return {**value, name: self._changed(value[name])}

    def _changed_list(self, value: list[Any]) -> list[Any]:
        place = self.rng.randrange(len(value))
        match self.rng.randrange(8):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return value[:place] + value[place : place + 1] * self.rng.randint(2, 30)
            case _:
                return [*value[:place], self._changed(value[place]), *value[place + 1 :]]

    def _changed_leaf(self, value: Any) -> Any:
        if self.rng.random() < 0.5:
            return self.rng.choice(LEAVES)
        match value:
            case bool():
                return not value
            case int():
                return value + self.rng.choice((-1, 1, 2**32, -(2**32)))
            case float() if math.isfinite(value):
                return value * self.rng.choice((-1.0, 0.0, 1e-9, 1e9)) + self.rng.choice((0, 1))
            case bytes():
                return self._injured(value)
            case str():
                return self.text(value, ("\n", "\x1b]8;;", "/", "..", "[/]", "é"))
        return self.rng.choice(LEAVES)
