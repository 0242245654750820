"""One Ed25519 key per peer: its PeerID in the network, its author key, its signature.

The PeerID contains the public key, so each can be derived from the other.
"""

from __future__ import annotations

from pathlib import Path

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.files import write_atomically

PeerId = str
"""Base58, "12D3Koo..."."""

Author = bytes
"""The 32 raw bytes of an Ed25519 public key."""

AUTHOR_LENGTH = 32
SIGNATURE_LENGTH = 64

# libp2p's protobufs, whose lengths never vary for Ed25519: a private key file, and an identity
# multihash around a public key.
_KEY_FILE_HEADER = bytes.fromhex("08011240")
_PEER_ID_HEADER = bytes.fromhex("002408011220")
_LONGEST_PEER_ID = 64


class Identity:
    """A private key and its public key."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.author: Author = self._key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Identity:
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Read a libp2p key file. Refuses one that other users can read, or not of Ed25519."""
        try:
            permissions = path.stat().st_mode & 0o077
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise UsageProblem(f"there is no identity file {path}") from error
        if permissions:
            raise UsageProblem(
                f"the identity file {path} can be read or written by others",
                f"Run: chmod 600 {path}",
            )
        return cls(_seed_in(content, path))

    def save(self, path: Path, *, over: bool = False) -> None:
        """Write the libp2p key file, mode 0600. Replaces another identity only if told `over`."""
        if not over and path.exists() and Identity.load(path).author != self.author:
            raise UsageProblem(
                f"{path} already holds another identity", "Move it away first to replace it"
            )
        write_atomically(path, _KEY_FILE_HEADER + self.seed + self.author, mode=0o600)

    @property
    def peer_id(self) -> PeerId:
        return peer_id_of(self.author)

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 signature."""
        return self._key.sign(message)


def verify(author: Author, signature: bytes, message: bytes) -> bool:
    """Whether `author` signed `message`. False for malformed keys and signatures."""
    try:
        Ed25519PublicKey.from_public_bytes(author).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def peer_id_of(author: Author) -> PeerId:
    """The PeerID that libp2p derives from this public key."""
    return base58.b58encode(_PEER_ID_HEADER + author).decode("ascii")


def author_of(peer_id: PeerId) -> Author:
    """The public key in a PeerID. BadContent when there is none, as in RSA ids (Qm...)."""
    refusal = BadContent(f"{peer_id[:_LONGEST_PEER_ID]!r} is not an Ed25519 PeerID (12D3Koo...)")
    if len(peer_id) > _LONGEST_PEER_ID:
        raise refusal
    try:
        raw = base58.b58decode(peer_id)
    except ValueError as error:
        raise refusal from error
    author = raw[len(_PEER_ID_HEADER) :]
    if raw[: len(_PEER_ID_HEADER)] != _PEER_ID_HEADER or len(author) != AUTHOR_LENGTH:
        raise refusal
    if peer_id_of(author) != peer_id:
        raise refusal
    return author


def _seed_in(content: bytes, path: Path) -> bytes:
    body = content.removeprefix(_KEY_FILE_HEADER)
    if len(body) != 64 or len(content) != len(_KEY_FILE_HEADER) + 64:
        raise BadContent(
            f"{path} is not an Ed25519 libp2p key file",
            "Restore your backup of it, or move it away to start with a new identity",
        )
    seed, public = body[:32], body[32:]
    if Identity(seed).author != public:
        raise BadContent(
            f"the two halves of the key in {path} do not belong together",
            "Restore your backup of it, or move it away to start with a new identity",
        )
    return seed
