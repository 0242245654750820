"""The bytes that peers exchange: strict canonical msgpack, and the signed envelope around it.

Canonical means that a value has exactly one encoding (shortest forms, sorted keys, 64-bit floats),
so equal records have equal hashes. Everything that arrives from the network passes `decode`, which
refuses any other encoding with BadContent. `decode` never allocates more than a small multiple of
its input, and never reads more values than the caller allows: a stranger may send millions.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack  # type: ignore[import-untyped]

from paris_p2p.errors import BadContent
from paris_p2p.identity import AUTHOR_LENGTH, SIGNATURE_LENGTH, Author, Identity, verify

MAX_DEPTH = 8
"""Levels of nested lists and maps, counting the outermost."""

ITEMS = 128
"""Default limit of values inside lists and maps, keys included."""

RECORD_LIMIT = 2048
"""Most bytes of a sealed record that fits into the DHT."""

ENVELOPE_VERSION = 1
_ENVELOPE_ITEMS = 5
_DOMAIN = b"paris-p2p/1/"
_INTEGERS = range(-(2**63), 2**64)
_ARRAY_TAGS = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
_MAP_TAGS = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
_TEXT_TAGS = frozenset((*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB))
_EXTENSION_TAGS = frozenset((0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)))


def encode(value: object) -> bytes:
    """The one encoding of `value`: None, bool, 64-bit int, finite float, str, bytes, and lists
    (tuples too) and str-keyed dicts of these, at most 8 deep. BadContent for anything else."""
    packed: bytes = msgpack.packb(_canonical(value, MAX_DEPTH), use_bin_type=True)
    return packed


def decode(data: bytes, limit: int, items: int = ITEMS) -> Any:
    """The value whose encoding is `data`.

    Raises BadContent, whatever the bytes, when there is no such value, when there are more than
    `limit` bytes, or more than `items` values in lists and maps, keys included.
    """
    if len(data) > limit:
        raise BadContent(f"{len(data)} bytes where at most {limit} are allowed")
    try:
        value = _Reader(data, items).value(MAX_DEPTH)
    except (ValueError, msgpack.UnpackException) as error:
        raise BadContent("not valid msgpack") from error
    if encode(value) != data:
        raise BadContent("not the canonical encoding of its value")
    return value


def seal(identity: Identity, kind: str, body: dict[str, Any]) -> bytes:
    """Sign `body` as a record of this `kind`: the envelope that `unseal` opens."""
    content = encode(body)
    signature = identity.sign(_signed_message(kind, identity.author, content))
    return encode([ENVELOPE_VERSION, kind, identity.author, content, signature])


def unseal(
    data: bytes, kind: str, limit: int = RECORD_LIMIT, items: int = ITEMS
) -> tuple[Author, dict[str, Any]]:
    """The author and the body of a record of this `kind`. BadContent unless all of it is valid.

    `limit` and `items` as in `decode`; the items are the body's.
    """
    author, content, signature = _open_envelope(decode(data, limit, _ENVELOPE_ITEMS), kind)
    if not verify(author, signature, _signed_message(kind, author, content)):
        raise BadContent(f"the signature of this {kind} record is not its author's")
    body = decode(content, limit, items)
    if not isinstance(body, dict):
        raise BadContent(f"the body of this {kind} record is not a map")
    return author, body


def _open_envelope(envelope: object, kind: str) -> tuple[Author, bytes, bytes]:
    match envelope:
        case [version, str() as found, bytes() as author, bytes() as content, bytes() as s]:
            if type(version) is not int or version != ENVELOPE_VERSION:
                raise BadContent(f"not version {ENVELOPE_VERSION} of the record format")
            if found != kind:
                raise BadContent(f"not a {kind} record")
            if len(author) == AUTHOR_LENGTH and len(s) == SIGNATURE_LENGTH:
                return author, content, s
    raise BadContent("not a signed record")


def _signed_message(kind: str, author: Author, content: bytes) -> bytes:
    return _DOMAIN + kind.encode("ascii") + b"\0" + author + content


def _canonical(value: object, depth: int) -> object:
    match value:
        case None | bool() | bytes():
            return value
        case int():
            if value not in _INTEGERS:
                raise BadContent("an integer outside 64 bits")
            return value
        case float():
            if not math.isfinite(value):
                raise BadContent("a number that is not finite")
            return value
        case str():
            return _encodable(value)
        case list() | tuple():
            _spend_level(depth)
            return [_canonical(item, depth - 1) for item in value]
        case dict():
            _spend_level(depth)
            return _sorted_map(value, depth - 1)
    raise BadContent(f"a record cannot hold a {type(value).__name__}")


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadContent("text that cannot be encoded as UTF-8") from error
    return text


def _sorted_map(items: dict[object, object], depth: int) -> dict[str, object]:
    keys = [key for key in items if isinstance(key, str)]
    if len(keys) != len(items):
        raise BadContent("a map key that is not text")
    return {_encodable(key): _canonical(items[key], depth) for key in sorted(keys)}


def _spend_level(depth: int) -> None:
    if depth == 0:
        raise BadContent(f"nested deeper than {MAX_DEPTH}")


class _Reader:
    """Reads one value, and at most `items` values inside it.

    Containers are read item by item, so the count in a header allocates nothing.
    """

    def __init__(self, data: bytes, items: int) -> None:
        self._data = data
        self._left = items
        self._unpacker = msgpack.Unpacker(max_buffer_size=len(data) or 1, strict_map_key=True)
        self._unpacker.feed(data)

    def value(self, depth: int) -> object:
        """The next value, with at most `depth` levels of containers."""
        tag = self._next_tag()
        if tag in _EXTENSION_TAGS:
            raise BadContent("extension types are not allowed")
        if tag in _ARRAY_TAGS:
            _spend_level(depth)
            count = self._unpacker.read_array_header()
            self._spend(count)
            return [self.value(depth - 1) for _ in range(count)]
        if tag in _MAP_TAGS:
            _spend_level(depth)
            return self._map(depth - 1)
        return self._unpacker.unpack()

    def _map(self, depth: int) -> dict[str, object]:
        count = self._unpacker.read_map_header()
        self._spend(2 * count)
        items: dict[str, object] = {}
        for _ in range(count):
            if self._next_tag() not in _TEXT_TAGS:
                raise BadContent("a map key that is not text")
            key = self._unpacker.unpack()
            items[key] = self.value(depth)
        return items

    def _next_tag(self) -> int | None:
        place = self._unpacker.tell()
        return self._data[place] if place < len(self._data) else None

    def _spend(self, count: int) -> None:
        if count > self._left:
            raise BadContent("more values than content of this kind can have")
        self._left -= count
