"""Backups of a key: encrypted PKCS#8 that openssl opens, refused where it is not sound."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.identity import Identity
from paris_p2p.key_backup import LIMIT, LONGEST_PASSPHRASE, SHORTEST_PASSPHRASE, decrypt, encrypt

IDENTITY = Identity(bytes(range(32)))
PASSPHRASE = "correct horse battery"
PrivateKey = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def pem(key: PrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(
        Encoding.PEM,
        PrivateFormat.PKCS8,
        encryption or BestAvailableEncryption(PASSPHRASE.encode()),
    )


def test_a_backup_comes_back() -> None:
    backup = encrypt(IDENTITY, PASSPHRASE)
    assert decrypt(backup, PASSPHRASE).seed == IDENTITY.seed
    assert IDENTITY.seed not in backup


def test_a_backup_tells_whose_it_is() -> None:
    first = encrypt(IDENTITY, PASSPHRASE).splitlines()[0]
    assert first.decode() == f"The encrypted key of the peer {IDENTITY.peer_id}"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_openssl_opens_a_backup() -> None:
    done = subprocess.run(
        ["openssl", "pkey", "-passin", f"pass:{PASSPHRASE}", "-outform", "DER"],
        input=encrypt(IDENTITY, PASSPHRASE),
        capture_output=True,
        check=True,
    )
    assert done.stdout.endswith(IDENTITY.seed)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_a_key_that_openssl_encrypted_is_taken() -> None:
    done = subprocess.run(
        ["openssl", "pkey", "-aes256", "-passout", f"pass:{PASSPHRASE}"],
        input=pem(ed25519.Ed25519PrivateKey.from_private_bytes(IDENTITY.seed), NoEncryption()),
        capture_output=True,
        check=True,
    )
    assert decrypt(done.stdout, PASSPHRASE).seed == IDENTITY.seed


def test_no_flipped_bit_makes_another_key_of_it() -> None:
    """The encryption alone would open every seventh of these as some other key."""
    good = encrypt(IDENTITY, PASSPHRASE)
    for place in range(good.index(b"-----BEGIN"), len(good)):
        for bit in (1, 2, 16):
            bad = bytearray(good)
            bad[place] ^= bit
            with contextlib.suppress(BadContent):
                assert decrypt(bytes(bad), PASSPHRASE).seed == IDENTITY.seed


def test_a_key_beside_anothers_name_is_damaged() -> None:
    other = Identity(bytes(32)).peer_id.encode()
    swapped = encrypt(IDENTITY, PASSPHRASE).replace(IDENTITY.peer_id.encode(), other)
    with pytest.raises(BadContent, match="does not hold the key of the peer that it names"):
        decrypt(swapped, PASSPHRASE)


def test_every_shortened_file_is_refused() -> None:
    good = encrypt(IDENTITY, PASSPHRASE).rstrip()
    for length in range(len(good)):
        with pytest.raises(BadContent):
            decrypt(good[:length], PASSPHRASE)


@pytest.mark.parametrize("guess", ["", "correct horse batter", "Correct horse battery", "x" * 9999])
def test_another_passphrase_does_not_open_it(guess: str) -> None:
    with pytest.raises(BadContent, match="the passphrase is wrong, or the backup is damaged"):
        decrypt(encrypt(IDENTITY, PASSPHRASE), guess)


def test_a_passphrase_is_the_same_however_its_accents_are_typed() -> None:
    composed, taken_apart = "caf\u00e9 au lait et pain", "cafe\u0301 au lait et pain"
    assert decrypt(encrypt(IDENTITY, composed), taken_apart).seed == IDENTITY.seed


def test_a_passphrase_is_neither_short_nor_longer_than_openssl_reads() -> None:
    for good in ("x" * SHORTEST_PASSPHRASE, "x" * LONGEST_PASSPHRASE):
        assert decrypt(encrypt(IDENTITY, good), good).seed == IDENTITY.seed
    for bad in ("x" * (SHORTEST_PASSPHRASE - 1), "x" * (LONGEST_PASSPHRASE + 1)):
        with pytest.raises(UsageProblem, match="at least 16 characters, and at most 1023 bytes"):
            encrypt(IDENTITY, bad)


def test_a_passphrase_that_is_not_text_is_refused() -> None:
    """As a variable brings it that is not in UTF-8."""
    backup, typed = encrypt(IDENTITY, PASSPHRASE), "correct horse \udcff battery"
    with pytest.raises(UsageProblem, match="the passphrase is not text"):
        encrypt(IDENTITY, typed)
    with pytest.raises(UsageProblem, match="the passphrase is not text"):
        decrypt(backup, typed)


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())]
)
def test_a_key_of_another_kind_is_refused(key: PrivateKey) -> None:
    with pytest.raises(BadContent, match="is of another kind: that of a peer is an Ed25519 key"):
        decrypt(pem(key), PASSPHRASE)


def test_a_backup_of_version_0_1_0_is_refused_as_such() -> None:
    with pytest.raises(BadContent, match=r"a backup of version 0\.1\.0") as caught:
        decrypt(b"paris-identity\x01\x11" + bytes(76), PASSPHRASE)
    assert "export it again" in caught.value.remedy


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pem(ed25519.Ed25519PrivateKey.generate(), NoEncryption()),
        encrypt(IDENTITY, PASSPHRASE) + bytes(LIMIT),
    ],
    ids=["nothing", "a key that is not encrypted", "too large"],
)
def test_what_is_no_encrypted_key_is_refused(data: bytes) -> None:
    with pytest.raises(BadContent, match="this is not an encrypted private key"):
        decrypt(data, PASSPHRASE)


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_whatever_is_no_backup_is_refused(data: bytes, is_framed: bool) -> None:
    frame = b"-----%s ENCRYPTED PRIVATE KEY-----\n"
    with pytest.raises(BadContent):
        decrypt(frame % b"BEGIN" + data + frame % b"END" if is_framed else data, PASSPHRASE)
