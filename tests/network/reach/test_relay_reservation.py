"""A place at a relay: what is asked, what is believed of the answer, and the way in bytes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent, ParisError, Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.network.reach.relay_reservation import (
    HOP_PROTOCOL,
    MAX_MESSAGE,
    RelayLimit,
    circuit_bytes,
    read_answer,
    reserve,
)
from paris_p2p.network.swarm import Stream

RELAY = Identity(bytes(range(32)))


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def answer(status: int, limit: bytes | None = None) -> bytes:
    told = b"" if limit is None else b"\x22" + varint(len(limit)) + limit
    return b"\x08\x02" + told + b"\x28" + varint(status)


def limit(seconds: int, size: int) -> bytes:
    return b"\x08" + varint(seconds) + b"\x10" + varint(size)


def test_an_answer_byte_by_byte() -> None:
    assert read_answer(bytes.fromhex("0802 2209 08880e 108080808010 2864")) == RelayLimit(
        1800, 1 << 32
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_the_limits_are_read(seconds: int, size: int) -> None:
    assert read_answer(answer(100, limit(seconds, size))) == RelayLimit(seconds, size)


def test_no_limit_is_no_bound() -> None:
    assert read_answer(answer(100)) == RelayLimit(0, 0)


@pytest.mark.parametrize("status", [0, 200, 201, 202, 400])
def test_a_refusal_is_one(status: int) -> None:
    with pytest.raises(Unreachable, match="refuses a reservation"):
        read_answer(answer(status, limit(1, 1)))


@given(st.sampled_from([b"", answer(100), answer(100, limit(1, 1))]), st.binary(max_size=64))
def test_nonsense_is_an_error_of_ours_or_passed_over(sound: bytes, nonsense: bytes) -> None:
    with suppress(ParisError):
        read_answer(sound + nonsense)


@pytest.mark.parametrize(
    "message",
    [b"\x28", b"\x22\x05\x08", b"\x28\xff\xff", b"\x2a\x01\x64", b"\x28\x64\x20\x01", b"\x0d\x01"],
)
def test_broken_protobuf_is_refused(message: bytes) -> None:
    with pytest.raises(BadContent):
        read_answer(message)


async def asked_of(reply: bytes) -> tuple[list[bytes], RelayLimit]:
    """What a relay that answers `reply` is asked, and what is made of it."""
    network = MemoryNetwork()
    peer, relay = (network.join(Identity.generate().author) for _ in "ab")
    await peer.connect(relay.addresses()[0])
    questions: list[bytes] = []

    async def serve(author: bytes, stream: Stream) -> None:
        questions.append(await stream.read_exactly(3))
        await stream.write(reply)

    await relay.serve(HOP_PROTOCOL, serve)
    stream = await peer.open(relay.author, HOP_PROTOCOL)
    try:
        return questions, await reserve(stream)
    finally:
        await stream.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("padding", [0, 200])
async def test_a_place_is_asked_for_in_one_message(padding: int) -> None:
    voucher = b"\x1a" + varint(padding) + bytes(padding) if padding else b""
    message = voucher + answer(100, limit(1800, 4 << 30))
    questions, granted = await asked_of(varint(len(message)) + message)
    assert questions == [b"\x02\x08\x00"]
    assert granted == RelayLimit(1800, 4 << 30)


@pytest.mark.asyncio
@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1])
async def test_an_answer_of_no_sensible_length_is_not_read(length: int) -> None:
    with pytest.raises(BadContent, match="length"):
        await asked_of(varint(length) + bytes(64))


def test_the_way_through_a_relay_in_bytes() -> None:
    """/ip4/203.0.113.7/tcp/4001/p2p/RELAY/p2p-circuit, as the multiaddr table has it."""
    transport = bytes.fromhex("04cb007107060fa1")
    multihash = bytes.fromhex("002408011220") + RELAY.author
    expected = transport + bytes.fromhex("a50326") + multihash + bytes.fromhex("a202")
    assert circuit_bytes(transport, RELAY.author) == expected
