from __future__ import annotations

import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.network.dht.hardening import DICTIONARY_ITEMS, DICTIONARY_LIMIT
from paris_p2p.records.codec import ITEMS, MAX_DEPTH, decode, encode, seal, unseal
from paris_p2p.records.manifest import MANIFEST_LIMIT, Manifest
from paris_p2p.records.run import RunManifest

SIGNER = Identity(bytes(range(32)))
LIMIT = 4096

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def nested(depth: int) -> object:
    value: object = None
    for _ in range(depth):
        value = [value]
    return value


@given(values)
def test_what_encode_makes_decode_returns(value: object) -> None:
    try:
        data = encode(value)
    except BadContent:
        return  # deeper than allowed
    assert decode(data, len(data)) == value


@given(st.dictionaries(st.text(), st.integers(0, 9)))
def test_the_order_of_a_map_does_not_show(items: dict[str, int]) -> None:
    assert encode(items) == encode(dict(reversed(items.items())))


@given(st.binary(max_size=64) | values.map(msgpack.packb))
def test_any_bytes_either_decode_canonically_or_are_bad_content(data: bytes) -> None:
    try:
        value = decode(data, LIMIT)
    except BadContent:
        return
    assert encode(value) == data


NOT_CANONICAL = {
    "empty": b"",
    "two values": b"\xc0\xc0",
    "cut short": encode([1, "two", b"three"])[:-1],
    "integer in more bytes than it needs": b"\xcc\x01",
    "positive integer in a signed form": b"\xd1\x01\x00",
    "32-bit float": b"\xca\x3f\x80\x00\x00",
    "NaN": b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "infinity": b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    "short text in a long form": b"\xd9\x01a",
    "short bytes in a long form": b"\xc5\x00\x01a",
    "short list in a long form": b"\xdc\x00\x01\xc0",
    "short map in a long form": b"\xde\x00\x01\xa1a\xc0",
    "keys not sorted": b"\x82\xa1b\xc0\xa1a\xc0",
    "duplicate key": b"\x82\xa1a\xc0\xa1a\xc0",
    "integer key": b"\x81\x01\xc0",
    "bytes key": b"\x81\xc4\x01a\xc0",
    "list key": b"\x81\x90\xc0",
    "extension": b"\xd4\x01\x00",
    "empty extension": b"\xc7\x00\x01",
    "timestamp": b"\xd6\xff\x00\x00\x00\x01",
    "extension as key": b"\x81\xd4\x01\x00\xc0",
    "reserved byte": b"\xc1",
    "text that is not UTF-8": b"\xa1\xff",
    "one level too deep": b"\x91" * (MAX_DEPTH + 1) + b"\xc0",
    "a depth bomb": b"\x91" * 4000 + b"\xc0",
    "maps all the way down": b"\x81\xa1a" * 1000 + b"\xc0",
    "a list of 4 billion": b"\xdd\xff\xff\xff\xff",
    "lists of 4 billion in one another": b"\xdd\xff\xff\xff\xff" * MAX_DEPTH,
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "4 GB of bytes": b"\xc6\xff\xff\xff\xff",
    "4 GB of text as key": b"\x81\xdb\xff\xff\xff\xff",
}


@pytest.mark.parametrize("data", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_decode_refuses_and_allocates_little(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadContent):
            decode(data, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_decode_refuses_more_bytes_than_the_limit() -> None:
    data = encode("12345")
    assert decode(data, len(data)) == "12345"
    with pytest.raises(BadContent, match="at most 5"):
        decode(data, len(data) - 1)


def list_of(count: int, item: bytes) -> bytes:
    """The encoding of a list, made without the objects in it."""
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def wide(limit: int) -> dict[str, bytes]:
    """As many values as fit into `limit` bytes."""
    many = limit - 8
    return {
        "maps": list_of(many, b"\x80"),
        "numbers": list_of(many, b"\x00"),
        "maps in pairs": list_of(many // 3, b"\x92\x80\x80"),
        "keys": b"\xdf" + (many // 3).to_bytes(4, "big") + b"\xa1a\xc0" * (many // 3),
        "a key that is many maps": b"\x81" + list_of(many - 8, b"\x80") + b"\xc0",
    }


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Grows by one for every value that msgpack takes out of what is decoded."""
    taken: list[bytes] = []
    real = msgpack.Unpacker

    class Counting:
        def __init__(self, **options: object) -> None:
            self._unpacker = real(**options)

        def __getattr__(self, name: str) -> object:
            if name not in ("feed", "tell"):
                taken.append(name.encode())
            return getattr(self._unpacker, name)

    monkeypatch.setattr(msgpack, "Unpacker", Counting)
    return taken


@pytest.mark.parametrize("shape", wide(16).keys())
def test_who_sends_a_million_values_has_few_of_them_read(shape: str, read: list[bytes]) -> None:
    with pytest.raises(BadContent):
        Manifest.decode(wide(MANIFEST_LIMIT)[shape])
    with pytest.raises(BadContent):
        RunManifest.unseal(wide(RunManifest.LIMIT)[shape])
    with pytest.raises(BadContent):
        decode(wide(LIMIT)[shape], LIMIT)
    assert len(read) < 3 * ITEMS
    read.clear()
    with pytest.raises(BadContent):
        decode(wide(DICTIONARY_LIMIT)[shape], DICTIONARY_LIMIT, DICTIONARY_ITEMS)
    assert len(read) <= DICTIONARY_ITEMS + 1


def test_as_many_values_as_allowed_are_read() -> None:
    data = encode({"a": [1, 2], "b": 3})
    assert decode(data, LIMIT, items=6) == {"a": [1, 2], "b": 3}
    with pytest.raises(BadContent, match="more values"):
        decode(data, LIMIT, items=5)


def test_eight_levels_are_allowed() -> None:
    assert decode(encode(nested(MAX_DEPTH)), LIMIT) == nested(MAX_DEPTH)


NOT_ENCODABLE = {
    "too great an integer": 2**64,
    "too small an integer": -(2**63) - 1,
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "integer key": {1: 2},
    "a lone surrogate": "\ud800",
    "a lone surrogate as key": {"\ud800": 1},
    "a set": {1},
    "a bytearray": bytearray(b"a"),
    "a timestamp": msgpack.Timestamp(1),
    "nine levels": nested(MAX_DEPTH + 1),
}


@pytest.mark.parametrize("value", NOT_ENCODABLE.values(), ids=NOT_ENCODABLE.keys())
def test_encode_refuses(value: object) -> None:
    with pytest.raises(BadContent):
        encode(value)


def test_unseal_returns_the_signer_and_the_body() -> None:
    sealed = seal(SIGNER, "head", {"step": 7})
    assert unseal(sealed, "head") == (SIGNER.author, {"step": 7})


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(BadContent, match="not a claim"):
        unseal(seal(SIGNER, "head", {"step": 7}), "claim")


def test_changing_any_one_byte_breaks_a_record() -> None:
    sealed = seal(SIGNER, "head", {"step": 7})
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(BadContent):
            unseal(bytes(changed), "head")


@given(st.data())
def test_any_mutation_breaks_a_record(data: st.DataObject) -> None:
    sealed = seal(SIGNER, "head", {"step": 7, "loss": 0.5})
    start = data.draw(st.integers(0, len(sealed)))
    stop = data.draw(st.integers(start, len(sealed)))
    changed = sealed[:start] + data.draw(st.binary(max_size=80)) + sealed[stop:]
    if changed != sealed:
        with pytest.raises(BadContent):
            unseal(changed, "head")


@given(st.binary(max_size=200) | values.map(msgpack.packb))
def test_unseal_raises_nothing_but_bad_content(data: bytes) -> None:
    with pytest.raises(BadContent):
        unseal(data, "head")


def envelope(**changes: object) -> bytes:
    version, kind, author, content, signature = decode(seal(SIGNER, "head", {"step": 7}), LIMIT)
    parts = {
        "version": version,
        "kind": kind,
        "author": author,
        "content": content,
        "signature": signature,
    }
    return encode(list({**parts, **changes}.values()))


FORGED = {
    "another author": {"author": Identity.generate().author},
    "an author of the wrong length": {"author": b"short"},
    "a signature of the wrong length": {"signature": b"short"},
    "another content": {"content": encode({"step": 8})},
    "a future version": {"version": 2},
    "true for version one": {"version": True},
    "a missing part": {"signature": None},
    "one part more": {"more": 1},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED.keys())
def test_a_forged_envelope_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadContent):
        unseal(envelope(**changes), "head")


def test_a_record_cannot_be_passed_off_as_another_kind() -> None:
    with pytest.raises(BadContent, match="signature"):
        unseal(envelope(kind="vote"), "vote")


def test_an_extension_is_refused_by_name() -> None:
    with pytest.raises(BadContent, match="extension types"):
        decode(NOT_CANONICAL["extension"], LIMIT)


def test_a_signed_body_must_be_a_canonical_map() -> None:
    for content in (encode([1]), b"\x82\xa1b\xc0\xa1a\xc0", b""):
        signature = SIGNER.sign(b"paris-p2p/1/head\0" + SIGNER.author + content)
        with pytest.raises(BadContent):
            unseal(envelope(content=content, signature=signature), "head")


def test_a_record_over_the_limit_is_refused() -> None:
    sealed = seal(SIGNER, "head", {"filling": b"x" * 2048})
    with pytest.raises(BadContent, match="at most 2048"):
        unseal(sealed, "head")
    assert unseal(sealed, "head", limit=4096)[1] == {"filling": b"x" * 2048}
