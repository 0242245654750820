"""Signed records: nothing of one can be changed, moved, or claimed by somebody else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.identity import Identity
from paris_p2p.network.dht.validator import (
    CLOCK_TOLERANCE,
    DhtRecord,
    Validator,
    key_digest,
    sign_record,
    signed_part,
)
from paris_p2p.network.swarm import MAX_LIFE, MAX_VALUE
from paris_p2p.records import codec

NOW = 1_800_000_000.0
IDENTITY = Identity.generate()
KEY = key_digest("key")
GOOD = sign_record(IDENTITY, KEY, b"value", NOW + 60)


def signed(payload: bytes, expires: float = NOW + 60) -> DhtRecord:
    signature = IDENTITY.sign(signed_part(KEY, IDENTITY.author, expires, payload))
    return DhtRecord(KEY, IDENTITY.author, expires, payload + signature)


@given(st.binary(max_size=MAX_VALUE))
def test_what_is_signed_is_accepted_and_read(value: bytes) -> None:
    record = sign_record(IDENTITY, KEY, value, NOW + 60)
    assert Validator().accepts(record, NOW)
    assert record.value == value


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(replace(GOOD, key=key_digest("other")), id="moved to another key"),
        pytest.param(replace(GOOD, owner=Identity.generate().author), id="claimed by another"),
        pytest.param(replace(GOOD, expires=GOOD.expires + 1), id="given a longer life"),
        pytest.param(replace(GOOD, expires=GOOD.expires - 1), id="given a shorter life"),
        pytest.param(replace(GOOD, body=b"\0" + GOOD.body), id="padded"),
        pytest.param(replace(GOOD, body=GOOD.body[:-64]), id="unsigned"),
        pytest.param(replace(GOOD, body=b""), id="empty"),
        pytest.param(replace(GOOD, key=KEY[:19]), id="short key"),
        pytest.param(replace(GOOD, owner=b""), id="no owner"),
        pytest.param(replace(GOOD, owner=bytes(32)), id="a weak owner"),
        pytest.param(replace(GOOD, body=bytes(10_000_000)), id="huge"),
        pytest.param(signed(codec.encode(bytes(MAX_VALUE + 1))), id="oversized"),
        pytest.param(signed(codec.encode("text")), id="text"),
        pytest.param(signed(codec.encode(None)), id="nothing"),
        pytest.param(signed(b"\xc1"), id="undecodable"),
        pytest.param(signed(b""), id="no payload"),
        pytest.param(signed(codec.encode(b"v"), math.inf), id="eternal"),
        pytest.param(signed(codec.encode(b"v"), math.nan), id="NaN"),
        pytest.param(
            signed(codec.encode(b"v"), NOW + MAX_LIFE + CLOCK_TOLERANCE + 1), id="long-lived"
        ),
    ],
)
def test_anything_else_is_refused(record: DhtRecord) -> None:
    validator = Validator()
    assert validator.accepts(GOOD, NOW)
    assert not validator.accepts(record, NOW)


@given(st.integers(0, len(GOOD.body) * 8 - 1))
def test_no_bit_may_flip(bit: int) -> None:
    body = bytearray(GOOD.body)
    body[bit // 8] ^= 1 << bit % 8
    assert not Validator().accepts(replace(GOOD, body=bytes(body)), NOW)


def test_the_expired_are_not_refused() -> None:
    """Judged by a clock that is off, that would hide everything."""
    assert Validator().accepts(GOOD, GOOD.expires + 1000)


def test_a_remembered_signature_is_no_free_pass() -> None:
    validator = Validator()
    eternal = signed(codec.encode(b"v"), NOW + MAX_LIFE)
    assert validator.accepts(eternal, NOW)
    assert not validator.accepts(eternal, NOW - MAX_LIFE)
