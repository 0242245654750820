"""Properties of every kind of record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.records.codec import decode, encode, seal, unseal
from paris_p2p.records.fields import Signed

OF_NO_RECORD = (None, True, -(2**63), 1e300, "", "\x00", b"", b"x" * 4096, [[]], {"": 0})
"""Values that hardly any field allows."""

MAY_BE_NONE = ("image_encoder",)

same_fixture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def fields(record: Signed) -> dict[str, Any]:
    return {**record.to_body(), "author": record.author}


def test_a_sealed_record_comes_back_equal(record: Signed, signer: Identity) -> None:
    assert type(record).unseal(record.seal(signer)) == record


def test_a_body_comes_back_equal_and_survives_the_codec(record: Signed) -> None:
    body = decode(encode(fields(record)), record.LIMIT)
    assert type(record).from_body(body) == record


def test_only_the_author_can_seal(record: Signed) -> None:
    with pytest.raises(BadContent, match="by its author"):
        record.seal(Identity.generate())


def test_the_author_is_the_signer(record: Signed) -> None:
    thief = Identity.generate()
    stolen = seal(thief, record.KIND, record.to_body())
    assert type(record).unseal(stolen).author == thief.author


def test_the_body_must_not_name_an_author(record: Signed, signer: Identity) -> None:
    body = {**record.to_body(), "author": Identity.generate().author}
    with pytest.raises(BadContent, match="envelope"):
        type(record).unseal(seal(signer, record.KIND, body))


def test_an_unknown_field_is_refused(record: Signed, signer: Identity) -> None:
    with pytest.raises(BadContent, match="unknown field 'extra'"):
        type(record).unseal(seal(signer, record.KIND, {**record.to_body(), "extra": 1}))


def test_every_missing_field_is_refused(record: Signed, signer: Identity) -> None:
    for name in record.to_body():
        body = record.to_body()
        del body[name]
        with pytest.raises(BadContent, match=f"{name!r} is missing"):
            type(record).unseal(seal(signer, record.KIND, body))


def test_no_field_takes_every_kind_of_value(record: Signed) -> None:
    for name, good in fields(record).items():
        for value in OF_NO_RECORD:
            if type(value) is type(good) or (value is None and name in MAY_BE_NONE):
                continue  # perhaps within bounds
            with pytest.raises(BadContent, match=f"^{name}: "):
                type(record).from_body({**fields(record), name: value})


def test_a_time_sent_as_an_integer_is_not_canonical(record: Signed, signer: Identity) -> None:
    time = next(name for name in ("created", "time", "since") if name in record.to_body())
    body = {**record.to_body(), time: 1}
    with pytest.raises(BadContent, match="canonical"):
        type(record).unseal(seal(signer, record.KIND, body))


def test_a_record_cannot_be_made_out_of_bounds(record: Signed) -> None:
    with pytest.raises(BadContent, match="author: must be 32 bytes"):
        replace(record, author=b"short")


@same_fixture
@given(data=st.data())
def test_a_mutated_record_is_refused(record: Signed, signer: Identity, data: st.DataObject) -> None:
    sealed = bytearray(record.seal(signer))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadContent):
        type(record).unseal(bytes(sealed))


names = st.sampled_from(["step", "expert", "run", "author", "shards", "addresses"]) | st.text(
    max_size=8
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-99, 99)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
junk = (
    scalars | st.lists(scalars, max_size=3) | st.lists(st.dictionaries(names, scalars, max_size=2))
)


@same_fixture
@given(changes=st.dictionaries(names, junk, min_size=1, max_size=3))
def test_a_body_of_junk_raises_nothing_but_bad_content(
    record: Signed, changes: dict[str, Any]
) -> None:
    body = {**fields(record), **changes}
    try:
        made = type(record).from_body(body)
    except BadContent:
        return
    assert type(record).from_body(fields(made)) == made


def test_records_of_one_kind_do_not_open_as_another(record: Signed, signer: Identity) -> None:
    with pytest.raises(BadContent):
        unseal(record.seal(signer), "vote", record.LIMIT)
