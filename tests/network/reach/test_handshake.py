"""Who answers at an address: proven by a real p2pd, and not by anything else."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.reach.handshake import author_at, author_in_certificate
from tests.network.worlds import LibP2PWorld

UNKNOWN_KEY_TYPE = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0203")
"""The number that says "elliptic curve", and one that says nothing."""

OID = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")


@pytest.mark.process
async def test_a_real_peer_proves_its_key() -> None:
    async with LibP2PWorld() as world:
        peer = await world.start()
        assert await author_at(f"/ip4/127.0.0.1/tcp/{peer.port}") == peer.author


@asynccontextmanager
async def server(says: bytes, silent: bool = False) -> AsyncIterator[str]:
    """A TCP server that says `says` to everybody and hangs up, or keeps silent."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        if silent:
            await ended.wait()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"/ip4/127.0.0.1/tcp/{listening.sockets[0].getsockname()[1]}"
        ended.set()


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x13/multistream/1.0.0\n\x03na\n",
        b"\xff" * 300,
        b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n",
        b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\nSSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_whoever_is_no_peer_is_told_apart(says: bytes) -> None:
    async with server(says) as transport:
        with pytest.raises(Unreachable):
            await author_at(transport)


async def test_one_that_keeps_silent_is_left_in_time() -> None:
    async with server(b"", silent=True) as transport:
        with pytest.raises(Unreachable, match="no answer within"):
            await author_at(transport, patience=0.1)


async def test_nobody_there_is_said_in_the_systems_words() -> None:
    with pytest.raises(Unreachable, match=r"(?i)refused|connect"):
        await author_at("/ip4/127.0.0.1/tcp/9")


@pytest.mark.parametrize(
    "transport", ["/ip4/127.0.0.1/udp/9/quic-v1", "/ip4/127.0.0.1/tcp/0", "nonsense", ""]
)
async def test_what_cannot_be_tried_is_refused(transport: str) -> None:
    with pytest.raises(Unreachable):
        await author_at(transport)


def certificate(identity: Identity | None, *, signed: bytes | None = None, cut: int = 0) -> bytes:
    """A libp2p certificate of this identity, or one with a flaw."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    name = x509.Name([])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + datetime.timedelta(days=1))
    )
    if identity is not None:
        signature = identity.sign(b"libp2p-tls-handshake:" + (public if signed is None else signed))
        signed_key = bytes.fromhex("3068042408011220") + identity.author + b"\x04\x40" + signature
        value = signed_key[: len(signed_key) - cut]
        builder = builder.add_extension(x509.UnrecognizedExtension(OID, value), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_certificate_that_the_peers_key_signed_is_believed() -> None:
    identity = Identity.generate()
    assert author_in_certificate(certificate(identity)) == identity.author


@pytest.mark.parametrize(
    "flawed",
    [
        lambda: certificate(None),
        lambda: certificate(Identity.generate(), signed=b"another certificate's key"),
        lambda: certificate(Identity.generate(), cut=1),
        lambda: certificate(Identity.generate(), cut=100),
        lambda: b"",
        lambda: b"\x30\x82" + bytes(100),
        lambda: certificate(Identity.generate()).replace(*UNKNOWN_KEY_TYPE),
    ],
)
def test_any_other_certificate_is_a_value_error(flawed: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError):
        author_in_certificate(flawed())


IDENTITY = Identity(bytes(32))
SOUND = certificate(IDENTITY)


@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255), st.integers(0, len(SOUND)))
def test_however_a_certificate_is_bent_it_names_nobody_else(
    at: int, flip: int, length: int
) -> None:
    bent = bytearray(SOUND)
    bent[at] ^= flip
    for flawed in (bytes(bent), SOUND[:length], bytes(bent[:length])):
        try:
            assert author_in_certificate(flawed) == IDENTITY.author
        except ValueError:
            continue
