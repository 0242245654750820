"""libp2p's handshake over TCP, up to the proof of the server's key: which peer is at an address.

p2pd does not dial a peer again that is connected already, so it cannot tell whether an address
leads to that peer from outside. This handshake asks the address itself, without p2pd and without an
identity of our own, and hangs up once the key is proven:

    multistream-select     /multistream/1.0.0, then /tls/1.0.0
    TLS 1.3                the server's certificate carries its PeerID's key, which signed it

Source: libp2p specs, `connections/README.md` and `tls/tls.md`. Only literal TCP addresses and names
that resolve to them; QUIC needs a handshake that Python's ssl does not support.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import suppress

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import AUTHOR_LENGTH, SIGNATURE_LENGTH, Author, verify
from paris_p2p.records.address import tcp_endpoint

PATIENCE = 5.0
"""Seconds for the whole handshake."""

_LONGEST_LINE = 64
_LINES = (b"/multistream/1.0.0\n", b"/tls/1.0.0\n")

_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
_NO_CERTIFICATE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""The library's errors on a stranger's certificate."""
_SIGNED = b"libp2p-tls-handshake:"
# DER and protobuf around an Ed25519 key and its signature, whose lengths never vary.
_KEY_HEADER = bytes.fromhex("3068042408011220")
_SIGNATURE_HEADER = bytes.fromhex("0440")


async def author_at(transport: str, patience: float = PATIENCE) -> Author:
    """The proven key of the peer that answers at a TCP multiaddr without PeerID.

    Raises Unreachable, which says what failed: no connection, not libp2p, no proof.
    """
    host, port = _endpoint(transport)
    try:
        async with asyncio.timeout(patience):
            return await _ask(host, port)
    except TimeoutError as error:
        raise Unreachable(f"no answer within {patience:g} s") from error
    except ssl.SSLError as error:
        raise Unreachable("something answers, but it does not speak libp2p's TLS") from error
    except (EOFError, ValueError) as error:
        raise Unreachable("something answers, but it is not libp2p") from error
    except OSError as error:
        raise Unreachable(_in_words(error)) from error


def _in_words(error: OSError) -> str:
    """The system's message; asyncio's own, with the address in it, if there is no errno."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error) or "no connection"


async def _ask(host: str, port: int) -> Author:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        await _agree_on_tls(reader, writer)
        await writer.start_tls(_context())
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return author_in_certificate(certificate or b"")
    finally:
        writer.close()
        with suppress(OSError):
            writer.transport.abort()


async def _agree_on_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"".join(bytes([len(line)]) + line for line in _LINES))
    for line in _LINES:
        (length,) = await reader.readexactly(1)
        if length > _LONGEST_LINE or await reader.readexactly(length) != line:
            raise ValueError("not multistream-select with TLS")


def author_in_certificate(certificate: bytes) -> Author:
    """The key that signed a libp2p certificate (DER). ValueError when none did."""
    try:
        certified, signed_key = _certified(x509.load_der_x509_certificate(certificate))
    except _NO_CERTIFICATE as error:
        raise ValueError("a certificate without a PeerID's key") from error
    author, signature = _key_and_signature(signed_key)
    if not verify(author, signature, _SIGNED + certified):
        raise ValueError("a certificate that its PeerID's key has not signed")
    return author


def _certified(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """The certificate's own key (DER), and the content of libp2p's extension."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    extension = certificate.extensions.get_extension_for_oid(_EXTENSION).value
    if not isinstance(extension, x509.UnrecognizedExtension):
        raise ValueError("the extension has another form")
    return key, extension.value


def _key_and_signature(signed_key: bytes) -> tuple[Author, bytes]:
    key_end = len(_KEY_HEADER) + AUTHOR_LENGTH
    key, rest = signed_key[:key_end], signed_key[key_end:]
    signature = rest.removeprefix(_SIGNATURE_HEADER)
    sized = len(rest) - 2 == len(signature) == SIGNATURE_LENGTH
    if not (key.startswith(_KEY_HEADER) and sized):
        raise ValueError("a certificate whose PeerID is not of an Ed25519 key")
    return key[len(_KEY_HEADER) :], signature


def _context() -> ssl.SSLContext:
    """TLS as in libp2p: certificates are self-signed; no authority and no name is checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["libp2p"])
    return context


def _endpoint(transport: str) -> tuple[str, int]:
    try:
        endpoint = tcp_endpoint(transport)
    except BadContent as error:
        raise Unreachable(error.message, error.remedy) from error
    if endpoint is None:
        raise Unreachable("only TCP addresses can be tried")
    return endpoint
