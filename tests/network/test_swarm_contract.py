"""What every swarm backend promises. Each test runs on both: in memory, and on real libp2p."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import peer_id_of
from paris_p2p.network.swarm import MAX_LIFE, MAX_VALUE, Stream, StreamClosed, Swarm
from tests.network.worlds import LibP2PWorld, MemoryWorld, World, eventually

pytestmark = pytest.mark.asyncio

ECHO = "/paris/test-echo/1"


@pytest.fixture(params=[MemoryWorld, LibP2PWorld], ids=["memory", "libp2p"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with request.param() as world:
        yield world


async def echo(author: bytes, stream: Stream) -> None:
    """Send back 4-byte-length-prefixed messages until the caller leaves."""
    while True:
        size = int.from_bytes(await stream.read_exactly(4))
        await stream.write(await stream.read_exactly(size))


async def say(stream: Stream, message: bytes) -> bytes:
    await stream.write(len(message).to_bytes(4) + message)
    return await stream.read_exactly(len(message))


def soon() -> float:
    return time.time() + 60


class TestMembership:
    async def test_a_first_node_is_offline(self, world: World) -> None:
        alone = await world.start()
        assert not alone.online()
        assert alone.peers() == 0
        assert await alone.clock_skew() is None

    async def test_connecting_makes_both_sides_online(self, world: World) -> None:
        first, second = await world.start(), await world.start()
        await second.connect(first.addresses()[0])
        assert second.online()
        await eventually(first.online)

    async def test_a_peer_sees_where_others_come_from(self, world: World) -> None:
        first, second = await world.start(), await world.start()
        assert await first.seen_at(second.author) == []
        await second.connect(first.addresses()[0])
        (transport,) = await first.seen_at(second.author)
        assert transport.startswith("/ip4/127.0.0.1/tcp/")

    async def test_everybody_meets_everybody_through_one_address(self, world: World) -> None:
        peers = await world.circle(4)
        await eventually(lambda: all(peer.peers() == 3 for peer in peers))

    async def test_addresses_are_full_multiaddrs(self, world: World) -> None:
        peer = await world.start()
        assert peer.addresses()
        for address in peer.addresses():
            assert address.endswith("/p2p/" + peer_id_of(peer.author))
            assert "0.0.0.0" not in address

    @pytest.mark.parametrize(
        "address", ["", "nonsense", "/ip4/127.0.0.1/tcp/1", "/p2p/Qm", "/p2p/"]
    )
    async def test_a_malformed_address_is_unreachable(self, world: World, address: str) -> None:
        peer = await world.start()
        with pytest.raises(Unreachable):
            await peer.connect(address)

    async def test_a_dead_address_is_unreachable(self, world: World) -> None:
        peer, other = await world.circle(2)
        gone = other.addresses()[0]
        await other.close()
        with pytest.raises(Unreachable):
            await peer.connect(gone)

    async def test_nobody_reaches_itself(self, world: World) -> None:
        peer = await world.start()
        await peer.serve(ECHO, echo)
        with pytest.raises(Unreachable):
            await peer.connect(peer.addresses()[0])
        with pytest.raises(Unreachable):
            await peer.open(peer.author, ECHO)
        assert not peer.online()

    async def test_clocks_agree(self, world: World) -> None:
        peers = await world.circle(3)
        skew = await peers[0].clock_skew()
        assert skew is not None
        assert abs(skew) < 0.5

    async def test_closing_twice_is_fine(self, world: World) -> None:
        peer = await world.start()
        await peer.close()
        await peer.close()


class TestRecords:
    async def test_what_one_says_all_can_read(self, world: World) -> None:
        peers = await world.circle(3)
        expires = soon()
        assert await peers[0].store("k", b"hello", expires)
        for peer in peers:
            [entry] = await peer.lookup("k")
            assert (entry.owner, entry.value) == (peers[0].author, b"hello")
            assert entry.expires == pytest.approx(expires)

    async def test_owners_do_not_overwrite_each_other(self, world: World) -> None:
        peers = await world.circle(3)
        for number, peer in enumerate(peers):
            assert await peer.store("k", b"%d" % number, soon())
        entries = await peers[0].lookup("k")
        assert [entry.owner for entry in entries] == sorted(peer.author for peer in peers)
        assert {entry.value for entry in entries} == {b"0", b"1", b"2"}

    async def test_the_later_word_counts_even_if_it_expires_earlier(self, world: World) -> None:
        one, other = await world.circle(2)
        assert await one.store("k", b"old", time.time() + 100)
        assert await one.store("k", b"new", time.time() + 10)
        assert [entry.value for entry in await other.lookup("k")] == [b"new"]

    async def test_an_update_is_visible_at_once(self, world: World) -> None:
        one, other = await world.circle(2)
        for step in range(5):
            assert await one.store("k", b"%d" % step, soon())
            assert [entry.value for entry in await other.lookup("k")] == [b"%d" % step]

    async def test_withdrawn_is_not_seen_and_can_be_said_again(self, world: World) -> None:
        one, other = await world.circle(2)
        await one.store("k", b"value", soon())
        await one.withdraw("k")
        assert await other.lookup("k") == []
        assert await one.lookup("k") == []
        await one.store("k", b"again", soon())
        assert [entry.value for entry in await other.lookup("k")] == [b"again"]

    async def test_records_expire(self, world: World) -> None:
        one, other = await world.circle(2)
        await one.store("k", b"value", time.time() + 1.0)

        async def gone() -> bool:
            return await other.lookup("k") == [] and await one.lookup("k") == []

        await eventually(gone)

    async def test_what_is_already_expired_is_not_stored(self, world: World) -> None:
        one, other = await world.circle(2)
        assert not await one.store("k", b"value", time.time() - 1)
        assert await other.lookup("k") == []

    async def test_records_survive_their_author(self, world: World) -> None:
        one, two, three = await world.circle(3)
        await one.store("k", b"value", soon())
        await world.kill(one)
        assert [entry.value for entry in await two.lookup("k")] == [b"value"]
        assert [entry.value for entry in await three.lookup("k")] == [b"value"]

    async def test_alone_a_record_waits_for_company(self, world: World) -> None:
        one = await world.start()
        assert await one.store("k", b"value", soon())
        other = await world.start()
        await other.connect(one.addresses()[0])
        assert [entry.value for entry in await other.lookup("k")] == [b"value"]

    async def test_nothing_is_found_under_an_unknown_key(self, world: World) -> None:
        one, _ = await world.circle(2)
        assert await one.lookup("unknown") == []

    @pytest.mark.parametrize(
        ("key", "value", "life"),
        [
            ("k", b"x" * (MAX_VALUE + 1), 60.0),
            ("k", b"x", MAX_LIFE + 100),
            ("k", b"x", float("inf")),
            ("k", b"x", float("nan")),
            ("", b"x", 60.0),
            ("k" * 1000, b"x", 60.0),
        ],
    )
    async def test_out_of_bounds_is_refused(
        self, world: World, key: str, value: bytes, life: float
    ) -> None:
        peer = await world.start()
        with pytest.raises(BadContent):
            await peer.store(key, value, time.time() + life)

    async def test_the_largest_value_fits(self, world: World) -> None:
        one, other = await world.circle(2)
        assert await one.store("k", b"x" * MAX_VALUE, soon())
        [entry] = await other.lookup("k")
        assert entry.value == b"x" * MAX_VALUE


class TestStreams:
    async def test_both_sides_know_who_they_speak_to(self, world: World) -> None:
        one, other = await world.circle(2)
        callers: list[bytes] = []

        async def handler(author: bytes, stream: Stream) -> None:
            callers.extend([author, stream.author])
            await echo(author, stream)

        await other.serve(ECHO, handler)
        stream = await one.open(other.author, ECHO)
        try:
            assert stream.author == other.author
            assert await say(stream, b"hello") == b"hello"
            assert callers == [one.author, one.author]
        finally:
            await stream.close()

    @pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000], ids=str)
    async def test_bytes_arrive_whole(self, world: World, size: int) -> None:
        one, other = await world.circle(2)
        await other.serve(ECHO, echo)
        stream = await one.open(other.author, ECHO)
        message = bytes(range(256)) * (size // 256 + 1)
        try:
            assert await say(stream, message[:size]) == message[:size]
        finally:
            await stream.close()

    async def test_an_address_is_enough_to_open(self, world: World) -> None:
        one, other = await world.start(), await world.start()
        await other.serve(ECHO, echo)
        stream = await one.open(other.author, ECHO, other.addresses())
        assert await say(stream, b"hello") == b"hello"
        await stream.close()

    async def test_many_streams_at_once(self, world: World) -> None:
        one, other = await world.circle(2)
        await other.serve(ECHO, echo)

        async def visit(number: int) -> bytes:
            stream = await one.open(other.author, ECHO)
            try:
                return await say(stream, b"%d" % number)
            finally:
                await stream.close()

        answers = await asyncio.gather(*(visit(number) for number in range(40)))
        assert answers == [b"%d" % number for number in range(40)]

    async def test_an_unserved_protocol_is_unreachable(self, world: World) -> None:
        one, other = await world.circle(2)
        with pytest.raises(Unreachable):
            await one.open(other.author, ECHO)

    async def test_an_unknown_peer_is_unreachable(self, world: World) -> None:
        one = await world.start()
        with pytest.raises(Unreachable):
            await one.open(bytes(31) + b"\x01", ECHO)

    async def test_an_early_end_is_an_error(self, world: World) -> None:
        one, other = await world.circle(2)

        async def two_bytes(author: bytes, stream: Stream) -> None:
            await stream.write(b"ab")

        await other.serve(ECHO, two_bytes)
        stream = await one.open(other.author, ECHO)
        with pytest.raises(StreamClosed):
            await stream.read_exactly(3)
        await stream.close()

    async def test_a_failing_handler_ends_its_stream_and_nothing_else(self, world: World) -> None:
        one, other = await world.circle(2)

        async def broken(author: bytes, stream: Stream) -> None:
            raise ValueError("a bug")

        await other.serve(ECHO, broken)
        for _ in range(2):
            stream = await one.open(other.author, ECHO)
            with pytest.raises(StreamClosed):
                await stream.read_exactly(1)
            await stream.close()

    async def test_a_silent_peer_is_given_up(self, world: World) -> None:
        one, other = await world.circle(2)
        released = asyncio.Event()

        async def silent(author: bytes, stream: Stream) -> None:
            await released.wait()

        await other.serve(ECHO, silent)
        stream = await one.open(other.author, ECHO)
        with pytest.raises(StreamClosed):
            await stream.read_exactly(1, patience=0.2)
        await stream.close()
        released.set()

    async def test_a_reader_that_never_reads_stops_the_writer(self, world: World) -> None:
        one = await world.start(inactivity=0.5)
        other = await world.start()
        await other.connect(one.addresses()[0])
        released = asyncio.Event()

        async def deaf(author: bytes, stream: Stream) -> None:
            await released.wait()

        await other.serve(ECHO, deaf)
        stream = await one.open(other.author, ECHO, other.addresses())
        with pytest.raises(StreamClosed):
            for _ in range(64):
                await stream.write(bytes(1 << 20))
        await stream.close()
        released.set()

    async def test_a_killed_peer_ends_its_streams(self, world: World) -> None:
        one, other = await world.circle(2)
        await other.serve(ECHO, echo)
        stream = await one.open(other.author, ECHO)
        assert await say(stream, b"hello") == b"hello"
        await world.kill(other)
        with pytest.raises(StreamClosed):
            await say(stream, b"anyone?")
        await stream.close()


async def test_a_swarm_is_a_swarm(world: World) -> None:
    def accepts(swarm: Swarm) -> Swarm:
        return swarm

    assert accepts(await world.start())
