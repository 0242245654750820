"""Relay reservations, made without p2pd's own search, and relayed addresses in binary.

p2pd itself requests reservations only when it knows four relays, or after three minutes, and does
not report them. A reservation at one relay, at once and with known limits, takes one message of
libp2p's protocol, which any stream can carry. p2pd then accepts the relayed connections.

    stream    /libp2p/circuit/relay/0.2.0/hop
    question  varint length, protobuf HopMessage {1 type: 0 RESERVE}
    answer    varint length, protobuf HopMessage {1 type: 2 STATUS, 5 status: 100 OK,
              3 reservation {...}, 4 limit {1 duration: s, 2 data: bytes}}; no field 4: unlimited

A reservation lasts as long as the connection to the relay, and at most an hour; a new request
prolongs it.
Source: libp2p specs, `relay/circuit-v2.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import Author
from paris_p2p.network.swarm import Stream

HOP_PROTOCOL = "/libp2p/circuit/relay/0.2.0/hop"

MAX_MESSAGE = 4096
"""Bytes of a relay's answer, by the specification."""

_RESERVE = bytes([2, 0x08, 0])
_OK = 100

_P2P, _P2P_CIRCUIT = b"\xa5\x03", b"\xa2\x02"
_MULTIHASH = bytes.fromhex("002408011220")


@dataclass(frozen=True)
class RelayLimit:
    """A relay's limits per connection; 0 for none."""

    seconds: int
    bytes: int


async def reserve(stream: Stream) -> RelayLimit:
    """Make a reservation at the relay at the other end of `stream`.

    Raises `Unreachable` when it refuses, `BadContent` when it does not answer as a relay.
    """
    await stream.write(_RESERVE)
    length = 0
    for place in range(2):
        (byte,) = await stream.read_exactly(1)
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            break
    if not 0 < length <= MAX_MESSAGE:
        raise BadContent("a relay's answer has an invalid length")
    return read_answer(await stream.read_exactly(length))


def read_answer(message: bytes) -> RelayLimit:
    """The limit in a relay's answer. Raises like `reserve`."""
    fields = _fields(message)
    status = _number(fields.get(5, 0))
    if status != _OK:
        raise Unreachable(f"the relay refuses a reservation (status {status})")
    limit = _fields(_bytes(fields.get(4, b"")))
    return RelayLimit(_number(limit.get(1, 0)), _number(limit.get(2, 0)))


def circuit_bytes(relay_transport: bytes, relay: Author) -> bytes:
    """The binary multiaddr /RELAY_TRANSPORT/p2p/RELAY/p2p-circuit.

    hivemind's own encoder writes PeerIDs in a form that p2pd refuses.
    """
    name = _MULTIHASH + relay
    return relay_transport + _P2P + bytes([len(name)]) + name + _P2P_CIRCUIT


def _fields(message: bytes) -> dict[int, int | bytes]:
    """The fields of a protobuf message by number, the last of each; varints and bytes only."""
    fields: dict[int, int | bytes] = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        value, position = _varint(message, position)
        if tag & 7 == 0:
            fields[tag >> 3] = value
        elif tag & 7 == 2 and position + value <= len(message):
            fields[tag >> 3] = message[position : position + value]
            position += value
        else:
            raise BadContent("a relay's answer is not the expected protobuf")
    return fields


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, and where it ends."""
    number = 0
    for place, byte in enumerate(message[position : position + 10]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, position + place + 1
    raise BadContent("a relay's answer has an invalid number")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    raise BadContent("a relay's answer has a number where a message should be")


def _number(value: int | bytes) -> int:
    if isinstance(value, int):
        return value
    raise BadContent("a relay's answer has a message where a number should be")
