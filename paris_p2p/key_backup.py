"""A peer's key as one encrypted backup file: PKCS#8 in PEM.

    The encrypted key of the peer 12D3KooW...
    -----BEGIN ENCRYPTED PRIVATE KEY-----
    ...

`openssl pkey -in FILE` opens it too. The format cannot tell whether the decrypted key is the
encrypted one, so the first line names the peer. A key without that line, as other programs write
it, is accepted as it is.

The passphrase is stretched by 2048 rounds of PBKDF2, a millisecond's work per guess: only its
length protects the key. The file itself sets the number of rounds, so a file that somebody else
made can take any time to open.
"""

from __future__ import annotations

import re
import unicodedata

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.identity import Identity

LIMIT = 1 << 16
"""Bytes of a backup."""

SHORTEST_PASSPHRASE, LONGEST_PASSPHRASE = 16, 1023
"""Characters; and bytes, the most that openssl reads."""

_BEGIN = "-----BEGIN ENCRYPTED PRIVATE KEY-----"
_NAMED = re.compile(rb"^The encrypted key of the peer (\w+)\r?$", re.MULTILINE)
_BEGIN_0_1 = b"paris-identity\x01"


def encrypt(identity: Identity, passphrase: str) -> bytes:
    """The encrypted file. UsageProblem for a passphrase that is too short or too long."""
    secret = _secret(passphrase)
    if len(passphrase) < SHORTEST_PASSPHRASE or len(secret) > LONGEST_PASSPHRASE:
        raise UsageProblem(
            f"a passphrase has at least {SHORTEST_PASSPHRASE} characters, "
            f"and at most {LONGEST_PASSPHRASE} bytes",
            "Four random words or more are easy to keep and hard to guess",
        )
    name = f"The encrypted key of the peer {identity.peer_id}\n"
    key = Ed25519PrivateKey.from_private_bytes(identity.seed)
    return name.encode() + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(secret)
    )


def expect_encrypted_key(data: bytes) -> None:
    """BadContent for data that no passphrase could open."""
    if data.startswith(_BEGIN_0_1):
        raise BadContent(
            "this is a backup of version 0.1.0, in a format that this version does not read",
            "Import it with paris-p2p 0.1.0, then export it again with this version",
        )
    if len(data) > LIMIT or _BEGIN.encode() not in data:
        raise BadContent("this is not an encrypted private key", f"A backup contains {_BEGIN}")


def decrypt(data: bytes, passphrase: str) -> Identity:
    """The inverse of `encrypt`. BadContent for anything else, and for a wrong passphrase."""
    expect_encrypted_key(data)
    try:
        key = load_pem_private_key(data, _secret(passphrase))
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise BadContent(
            "the passphrase is wrong, or the backup is damaged",
            "Try the passphrase again, or another copy of the backup",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadContent("this key is of another kind: that of a peer is an Ed25519 key")
    identity = Identity(key.private_bytes_raw())
    named = _NAMED.search(data)
    if named and named[1].decode("ascii", "replace") != identity.peer_id:
        raise BadContent(
            "the backup is damaged: it does not hold the key of the peer that it names",
            "Use another copy of the backup",
        )
    return identity


def _secret(passphrase: str) -> bytes:
    """The passphrase's bytes, the same however accents were typed. UsageProblem if not text."""
    try:
        return unicodedata.normalize("NFKC", passphrase).encode()
    except UnicodeEncodeError as error:
        raise UsageProblem("the passphrase is not text", "Write it in UTF-8") from error
