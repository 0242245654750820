from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.identity import Identity, author_of, peer_id_of, verify

SEED = bytes(range(32))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "identity.key"


def test_a_peer_id_is_the_public_key() -> None:
    identity = Identity.generate()
    assert identity.peer_id.startswith("12D3Koo")
    assert peer_id_of(identity.author) == identity.peer_id
    assert author_of(identity.peer_id) == identity.author


def test_a_known_peer_id() -> None:
    """RFC 8032's first test key, and the id p2pd gives it."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    identity = Identity(seed)
    assert identity.author.hex().startswith("d75a980182b10ab7d54bfed3c964073a")
    assert identity.peer_id == "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV"


@given(st.binary(max_size=100))
def test_only_the_signed_message_verifies(message: bytes) -> None:
    identity = Identity(SEED)
    signature = identity.sign(message)
    assert verify(identity.author, signature, message)
    assert not verify(identity.author, signature, message + b"x")
    assert not verify(Identity.generate().author, signature, message)


@given(st.binary(max_size=40), st.binary(max_size=70))
def test_malformed_keys_and_signatures_are_not_valid(author: bytes, signature: bytes) -> None:
    assert not verify(author, signature, b"message")
    assert not verify(Identity(SEED).author, signature, b"message")


def test_the_key_file_is_libp2ps_and_private(key_file: Path) -> None:
    identity = Identity(SEED)
    identity.save(key_file)
    assert key_file.read_bytes() == bytes.fromhex("08011240") + SEED + identity.author
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert Identity.load(key_file).author == identity.author


def test_an_identity_is_never_overwritten_by_another(key_file: Path) -> None:
    identity = Identity(SEED)
    identity.save(key_file)
    identity.save(key_file)
    with pytest.raises(UsageProblem, match="already holds another identity"):
        Identity.generate().save(key_file)
    assert Identity.load(key_file).author == identity.author


def test_an_identity_is_replaced_where_that_is_meant(key_file: Path) -> None:
    Identity(SEED).save(key_file)
    new = Identity.generate()
    new.save(key_file, over=True)
    assert Identity.load(key_file).author == new.author
    assert key_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_open_to_others_is_refused_with_the_remedy(key_file: Path, mode: int) -> None:
    Identity.generate().save(key_file)
    key_file.chmod(mode)
    with pytest.raises(UsageProblem, match=f"chmod 600 {key_file}"):
        Identity.load(key_file)


def test_a_missing_file_is_named(key_file: Path) -> None:
    with pytest.raises(UsageProblem, match="there is no identity file"):
        Identity.load(key_file)


GOOD = bytes.fromhex("08011240") + SEED + Identity(SEED).author
NOT_KEYS = {
    "empty": b"",
    "cut short": GOOD[:-1],
    "one byte more": GOOD + b"\0",
    "an RSA header": b"\x08\x00" + GOOD[2:],
    "no header": GOOD[4:],
    "halves that do not match": GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
}


@pytest.mark.parametrize("content", NOT_KEYS.values(), ids=NOT_KEYS.keys())
def test_what_is_no_key_file_is_refused(key_file: Path, content: bytes) -> None:
    key_file.touch(mode=0o600)
    key_file.write_bytes(content)
    with pytest.raises(BadContent):
        Identity.load(key_file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12D3Koo",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "1" + Identity(SEED).peer_id,
        Identity(SEED).peer_id + "1",
        Identity(SEED).peer_id + "\n",
        Identity(SEED).peer_id[:-1] + "0",
        "1" * 10_000,
        "ü" * 52,
    ],
)
def test_what_is_no_ed25519_peer_id_is_refused(text: str) -> None:
    with pytest.raises(BadContent, match="not an Ed25519 PeerID"):
        author_of(text)
