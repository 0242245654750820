"""The key that members of a private swarm share: 32 random bytes, in IPFS's file format."""

from __future__ import annotations

import secrets
from pathlib import Path

from blake3 import blake3

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.files import write_atomically
from paris_p2p.identity import Author

NONCE = 32
"""Bytes of a nonce, and of a proof."""

_SIZE = 32
_FILE_HEAD = "/key/swarm/psk/1.0.0/\n/base16/\n"
_FILE_LIMIT = 4096
_CONTEXT = "paris-p2p/1 swarm membership"


class SwarmKey:
    """The secret that members of a private swarm share."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._key = blake3(secret, derive_key_context=_CONTEXT).digest()

    @classmethod
    def generate(cls) -> SwarmKey:
        return cls(secrets.token_bytes(_SIZE))

    @classmethod
    def load(cls, path: Path) -> SwarmKey:
        """Read a swarm key file in IPFS's format. Refuses one that other users can read."""
        try:
            permissions = path.stat().st_mode & 0o077
            with path.open("rb") as file:
                content = file.read(_FILE_LIMIT)
        except OSError as error:
            raise UsageProblem(
                f"cannot read the swarm key {path}: {error.strerror}",
                "Ask a member for a copy; paris-peer identity swarm-key makes one for a new swarm",
            ) from error
        if permissions:
            raise UsageProblem(
                f"the swarm key {path} can be read or written by others", f"Run: chmod 600 {path}"
            )
        return cls(_secret_in(content, path))

    def save(self, path: Path) -> None:
        """Write the key file, mode 0600. Never replaces a file."""
        if path.exists():
            raise UsageProblem(f"{path} exists already", "Choose another name for the new key")
        write_atomically(path, f"{_FILE_HEAD}{self._secret.hex()}\n".encode(), mode=0o600)

    def fingerprint(self) -> str:
        """Tells this key from others, in hex, and nothing else of it."""
        return blake3(b"fingerprint", key=self._key).hexdigest()

    def proof(self, role: bytes, opener: Author, server: Author, nonces: bytes) -> bytes:
        """The proof of this `role` in this handshake; only a key holder can make it."""
        return blake3(role + opener + server + nonces, key=self._key).digest()


def _secret_in(content: bytes, path: Path) -> bytes:
    text = content.decode("ascii", "replace").replace("\r\n", "\n").strip()
    digits = text.removeprefix(_FILE_HEAD)
    if digits == text or len(digits) != 2 * _SIZE or not set(digits) <= set("0123456789abcdef"):
        raise BadContent(
            f"{path} is not a swarm key file", "paris-peer identity swarm-key makes one"
        )
    return bytes.fromhex(digits)
