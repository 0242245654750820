"""An identity as one encrypted file, to be kept elsewhere.

    15 bytes   "paris-identity" and the version of this format, 1
     1 byte    log2 of scrypt's cost N (r = 8, p = 1); it takes N KiB of memory
    16 bytes   salt
    12 bytes   nonce
    the rest   AES-256-GCM of the seed, under the scrypt key of the passphrase; everything before it
               is authenticated with it

Nothing in the file is believed before its bounds are checked, so no file costs more than
`MOST_MEMORY`. A wrong passphrase and a damaged file look the same, as they must.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.identity import Identity

MAGIC = b"paris-identity\x01"

COST = 17
"""log2 of N for new backups: 128 MiB and half a second for every guess."""

LOWEST_COST, HIGHEST_COST = 10, 18
MOST_MEMORY = 1024 << HIGHEST_COST
"""Bytes that opening any backup can take."""

LIMIT = 1 << 16
"""Bytes of a backup."""

SHORTEST_PASSPHRASE = 8

_SALT, _NONCE, _SEED, _TAG = 16, 12, 32, 16
_HEADER = len(MAGIC) + 1 + _SALT + _NONCE


@dataclass(frozen=True)
class Backup:
    """What a backup holds."""

    identity: Identity

    def lock(self, passphrase: str, cost: int = COST) -> bytes:
        """The encrypted file. UsageProblem for a passphrase that is too short."""
        if len(passphrase) < SHORTEST_PASSPHRASE:
            raise UsageProblem(
                f"a passphrase has at least {SHORTEST_PASSPHRASE} characters",
                "Several random words are easy to keep and hard to guess",
            )
        header = MAGIC + bytes([cost]) + secrets.token_bytes(_SALT + _NONCE)
        sealed = _cipher(header, passphrase).encrypt(_nonce(header), self.identity.seed, header)
        return header + sealed

    @classmethod
    def unlock(cls, data: bytes, passphrase: str) -> Backup:
        """The inverse of `lock`. BadContent for anything else, and for a wrong passphrase."""
        header, sealed = data[:_HEADER], data[_HEADER:]
        if len(data) > LIMIT or len(sealed) < _SEED + _TAG or not header.startswith(MAGIC):
            raise BadContent("this is not a backup of an identity")
        if not LOWEST_COST <= header[len(MAGIC)] <= HIGHEST_COST:
            raise BadContent("this backup asks for more memory than any backup needs")
        try:
            content = _cipher(header, passphrase).decrypt(_nonce(header), sealed, header)
        except InvalidTag as error:
            raise BadContent(
                "the passphrase is wrong, or the backup is damaged",
                "Try the passphrase again, or another copy of the backup",
            ) from error
        return cls(Identity(content[:_SEED]))


def _cipher(header: bytes, passphrase: str) -> AESGCM:
    """The cipher under the key that the passphrase and the header's salt and cost make."""
    salt = header[len(MAGIC) + 1 :][:_SALT]
    kdf = Scrypt(salt=salt, length=32, n=1 << header[len(MAGIC)], r=8, p=1)
    return AESGCM(kdf.derive(unicodedata.normalize("NFKC", passphrase).encode()))


def _nonce(header: bytes) -> bytes:
    return header[-_NONCE:]
