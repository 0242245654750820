"""Who may write what into the DHT: signed records, checked wherever they come from.

On the wire a record is four things:

    key       20 bytes: the SHA-1 of the key's text (nodes never see the text)
    owner     32 bytes: the Ed25519 public key of the signer; the DHT subkey
    expires   Unix seconds, a 64-bit float
    body      payload || signature (64 bytes)

The payload is the canonical msgpack encoding of the value, a byte string of at most `MAX_VALUE`
bytes. The signature covers DOMAIN || key || expires || owner || payload, so a record cannot be
moved to another key, given another expiration, or claimed by another owner.

A record that is signed but cannot be decoded is refused like a forged one, because readers behind
us would fail on it. An expired record is *not* refused: with a clock that is off, that would hide
everything. Readers leave out records that have expired by their own clock.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import OrderedDict
from dataclasses import dataclass

from paris_p2p.errors import BadContent
from paris_p2p.identity import AUTHOR_LENGTH, SIGNATURE_LENGTH, Identity, verify
from paris_p2p.network.swarm import MAX_LIFE, MAX_VALUE
from paris_p2p.records import codec

DOMAIN = b"paris-dht/1\0"

KEY_LENGTH = 20

MAX_PAYLOAD = MAX_VALUE + 3
"""The largest value and the longest header msgpack needs for it."""

MAX_BODY = MAX_PAYLOAD + SIGNATURE_LENGTH

CLOCK_TOLERANCE = 60.0
"""Seconds an author's clock may be ahead of ours before its records look too long-lived."""

_EMPTY = codec.encode(b"")

REMEMBERED = 16_384
"""Verified signatures that a validator remembers: the same records are read over and over."""


@dataclass(frozen=True)
class DhtRecord:
    """One owner's signed value under one key, as nodes hold and send it."""

    key: bytes
    owner: bytes
    expires: float
    body: bytes

    @property
    def value(self) -> bytes:
        """The value inside. Only for records that a `Validator` has accepted."""
        value: bytes = codec.decode(self.body[:-SIGNATURE_LENGTH], MAX_PAYLOAD)
        return value

    @property
    def is_tombstone(self) -> bool:
        """Whether its value is empty: the owner has withdrawn its entry."""
        return self.body[:-SIGNATURE_LENGTH] == _EMPTY

    @property
    def size(self) -> int:
        """The bytes that this record takes."""
        return KEY_LENGTH + AUTHOR_LENGTH + 8 + len(self.body)


def key_digest(key: str) -> bytes:
    """The 20 bytes that stand for a key in the DHT."""
    return hashlib.sha1(key.encode(), usedforsecurity=False).digest()


def sign_record(identity: Identity, key: bytes, value: bytes, expires: float) -> DhtRecord:
    """The signed record of `identity` with `value` under `key`."""
    payload = codec.encode(value)
    signature = identity.sign(signed_part(key, identity.author, expires, payload))
    return DhtRecord(key, identity.author, expires, payload + signature)


class Validator:
    """Decides whether a record may be kept and sent. Remembers verified signatures."""

    def __init__(self) -> None:
        self._verified: OrderedDict[bytes, None] = OrderedDict()

    def accepts(self, record: DhtRecord, now: float) -> bool:
        """Whether `record` is well-formed, not too long-lived, decodable and signed by its owner.

        Cheap checks come first: a forgery that fails them costs no cryptography.
        """
        return (
            len(record.key) == KEY_LENGTH
            and len(record.owner) == AUTHOR_LENGTH
            and SIGNATURE_LENGTH < len(record.body) <= MAX_BODY
            and may_live_until(record.expires, now)
            and _decodable(record.body[:-SIGNATURE_LENGTH])
            and self._signed(record)
        )

    def _signed(self, record: DhtRecord) -> bool:
        payload, signature = record.body[:-SIGNATURE_LENGTH], record.body[-SIGNATURE_LENGTH:]
        message = signed_part(record.key, record.owner, record.expires, payload)
        mark = hashlib.sha256(message + signature).digest()
        if mark in self._verified:
            self._verified.move_to_end(mark)
            return True
        if not verify(record.owner, signature, message):
            return False
        self._verified[mark] = None
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return True


def may_live_until(expires: float, now: float) -> bool:
    """Whether a record that expires then can have been made by now."""
    return math.isfinite(expires) and expires <= now + MAX_LIFE + CLOCK_TOLERANCE


def _decodable(payload: bytes) -> bool:
    try:
        value = codec.decode(payload, MAX_PAYLOAD)
    except BadContent:
        return False
    return isinstance(value, bytes) and len(value) <= MAX_VALUE


def signed_part(key: bytes, owner: bytes, expires: float, payload: bytes) -> bytes:
    """The bytes that a record's signature covers."""
    return DOMAIN + key + struct.pack(">d", expires) + owner + payload
