"""Dialling back: only at the asker's own door, not too often, and proven by its key."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_streams import End, stream_pair
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.reach.dial_back import (
    ACTS_PER_AUTHOR,
    ACTS_PER_WINDOW,
    DIALBACK_PROTOCOL,
    MAX_ADDRESSES,
    MAX_MESSAGE,
    WINDOW,
    Budget,
    DialBackAnswer,
    DialbackServer,
    ask_dialback,
    may_dial,
)
from paris_p2p.network.swarm import Stream, StreamClosed
from paris_p2p.records.codec import encode

HOME = "/ip4/203.0.113.7/tcp/31337"
SEEN = ("/ip4/203.0.113.7/tcp/50123",)
PUBLIC = "/ip4/8.8.8.8/tcp/31337"
PRIVATE = "/ip4/192.168.1.4/tcp/31337"


@pytest.mark.parametrize(
    ("transport", "announced", "allowed"),
    [
        (HOME, (), True),
        ("/ip4/203.0.113.7/tcp/22", (), True),
        ("/ip4/203.0.113.8/tcp/31337", (), False),
        (PUBLIC, (PUBLIC,), True),
        (PUBLIC, (), False),
        ("/ip4/8.8.8.8/tcp/25", (PUBLIC,), False),
        (PRIVATE, (PRIVATE,), False),
        ("/ip4/127.0.0.1/tcp/31337", ("/ip4/127.0.0.1/tcp/31337",), False),
        ("/ip6/::127.0.0.1/tcp/22", ("/ip6/::127.0.0.1/tcp/22",), False),
        ("/ip6/fec0::1/tcp/22", ("/ip6/fec0::1/tcp/22",), False),
        ("/ip4/203.0.113.7/udp/31337/quic-v1", (), False),
        ("/dns4/victim.example/tcp/80", ("/dns4/victim.example/tcp/80",), False),
        ("nonsense", ("nonsense",), False),
    ],
)
def test_only_the_askers_own_addresses_are_dialled(
    transport: str, announced: tuple[str, ...], allowed: bool
) -> None:
    assert may_dial(transport, SEEN, announced) is allowed


@given(st.text(max_size=200))
def test_no_text_at_all_is_dialled_that_nobody_vouches_for(transport: str) -> None:
    assert not may_dial(transport, (), (transport,)) or "/tcp/" in transport
    assert not may_dial(transport, (), ())


def test_a_budget_bounds_one_asker_and_all_of_them_and_comes_back() -> None:
    now = 0.0
    budget = Budget(clock=lambda: now)
    askers = [bytes([number]) * 32 for number in range(100)]
    assert sum(budget.take(askers[0], "a") for _ in range(1000)) == ACTS_PER_AUTHOR
    for number, asker in enumerate(askers):
        while budget.take(asker, f"network {number}"):
            pass
    assert sum(budget._by_network.values()) <= ACTS_PER_WINDOW
    now = WINDOW
    assert budget.take(askers[0], "a")


def test_many_identities_of_one_network_leave_enough_for_others() -> None:
    budget = Budget(clock=lambda: 0.0)
    crowd = [bytes([number]) * 32 for number in range(100)]
    taken = sum(budget.take(asker, "a") for asker in crowd for _ in range(1000))
    assert taken == ACTS_PER_WINDOW // 2
    assert sum(budget.take(b"honest", "b") for _ in range(1000)) == ACTS_PER_AUTHOR
    assert sum(budget.take(b"another", "c") for _ in range(1000)) == ACTS_PER_AUTHOR


class Door:
    """A peer that dials back, at doors behind which a made-up author answers."""

    def __init__(self, doors: dict[str, bytes], announced: Sequence[str] = ()) -> None:
        network = MemoryNetwork()
        self.asker, self.answerer = (network.join(Identity.generate().author) for _ in "ab")
        self.doors = doors
        self.announced = announced
        self.dialled: list[str] = []
        self.lookups = 0

    async def __aenter__(self) -> MemorySwarm:
        server = DialbackServer(self._seen, self._announced, Budget(lambda: 0.0), self._dial)
        await self.answerer.serve(DIALBACK_PROTOCOL, server)
        return self.asker

    async def __aexit__(self, *_: object) -> None:
        await self.asker.close()
        await self.answerer.close()

    async def ask(self, *transports: str) -> DialBackAnswer:
        stream = await self.open()
        try:
            return await ask_dialback(stream, transports)
        finally:
            await stream.close()

    async def open(self) -> Stream:
        return await self.asker.open(
            self.answerer.author, DIALBACK_PROTOCOL, self.answerer.addresses()
        )

    async def _seen(self, author: bytes) -> Sequence[str]:
        return SEEN

    async def _announced(self, author: bytes) -> Sequence[str]:
        self.lookups += 1
        return self.announced

    async def _dial(self, transport: str) -> bytes:
        self.dialled.append(transport)
        if transport not in self.doors:
            raise Unreachable("Connection refused")
        return self.doors[transport]


async def test_an_asker_learns_which_addresses_lead_to_it_and_why_not() -> None:
    shut = "/ip4/203.0.113.7/tcp/9"
    door = Door({}, announced=(PUBLIC,))
    door.doors = {HOME: door.asker.author, PUBLIC: door.answerer.author}
    async with door:
        answer = await door.ask(HOME, shut, PUBLIC, PRIVATE)
    assert answer.seen == SEEN
    assert [dial.verdict for dial in answer.dials] == ["reached", "failed", "failed", "refused"]
    assert answer.dials[1].reason == "Connection refused"
    assert "another peer" in answer.dials[2].reason
    assert door.dialled == [HOME, shut, PUBLIC]


async def test_announcements_are_looked_up_only_where_they_could_allow_more() -> None:
    door = Door({}, announced=(PUBLIC,))
    async with door:
        await door.ask(HOME, PRIVATE, "nonsense")
        assert door.lookups == 0
        await door.ask(HOME, PUBLIC)
        assert door.lookups == 1


async def test_the_same_address_is_dialled_once_a_question() -> None:
    door = Door({})
    async with door:
        await door.ask(HOME, HOME, HOME)
    assert door.dialled == [HOME]


async def test_an_asker_that_asks_too_much_is_told_or_hung_up_on() -> None:
    door = Door({})
    async with door:
        verdicts = []
        with pytest.raises(StreamClosed):
            for _ in range(ACTS_PER_AUTHOR):
                answer = await door.ask(*(f"{HOME[:-5]}{port}" for port in range(1, 9)))
                verdicts += [dial.verdict for dial in answer.dials]
    assert len(door.dialled) == verdicts.count("failed") <= ACTS_PER_AUTHOR
    assert "busy" in verdicts


async def test_a_crowd_at_one_address_leaves_enough_for_newcomers_of_others() -> None:
    """Who connected a moment ago, as most askers have, is in no table of networks yet."""
    crowd = [bytes([1, number]) * 16 for number in range(100)]
    newcomers = [bytes([2, number]) * 16 for number in range(40)]
    subnets = dict.fromkeys(crowd, SEEN[0])
    subnets |= {who: f"/ip4/10.0.{number}.1/tcp/1" for number, who in enumerate(newcomers)}
    looks = 0

    async def seen_at(author: bytes) -> Sequence[str]:
        nonlocal looks
        looks += 1
        return [subnets[author]]

    async def announced_by(author: bytes) -> Sequence[str]:
        return ()

    server = DialbackServer(seen_at, announced_by, Budget(lambda: 0.0))

    async def is_answered(author: bytes) -> bool:
        asking, answering = stream_pair(End(author, 5.0), End(b"server", 5.0))
        message = encode([])
        await asking.write(len(message).to_bytes(2, "big") + message)
        await server(author, answering)
        await answering.close()
        try:
            return bool(await asking.read_exactly(1))
        except StreamClosed:
            return False

    assert sum([await is_answered(author) for author in crowd]) == ACTS_PER_WINDOW // 2
    assert all([await is_answered(author) for author in newcomers])
    assert looks == len(crowd) + len(newcomers)


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xff",
        (MAX_MESSAGE + 1).to_bytes(2, "big"),
        b"\x00\x01\xc1",
        b"\x00\x01\x07",
        b"\x00\x02\x91\x07",
    ],
)
async def test_a_question_that_is_none_ends_the_stream_and_dials_nobody(message: bytes) -> None:
    door = Door({})
    async with door:
        stream = await door.open()
        await stream.write(message)
        with pytest.raises(StreamClosed):
            await stream.read_exactly(1)
    assert door.dialled == []


async def test_more_addresses_than_allowed_are_not_asked() -> None:
    door = Door({})
    async with door:
        answer = await door.ask(*(f"{HOME[:-5]}{port}" for port in range(1, 20)))
    assert len(answer.dials) == MAX_ADDRESSES


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"seen": []},
        {"seen": [], "dials": [], "more": 1},
        {"seen": ["x" * 257], "dials": []},
        {"seen": [], "dials": [{"transport": HOME, "verdict": "perhaps", "reason": ""}]},
        {"seen": [], "dials": [{"transport": HOME, "verdict": "failed", "reason": "\x1b[31m"}]},
    ],
)
async def test_an_answer_that_is_none_is_refused(body: object) -> None:
    async def liar(author: bytes, stream: Stream) -> None:
        message = encode(body)
        await stream.write(len(message).to_bytes(2, "big") + message)

    door = Door({})
    await door.answerer.serve(DIALBACK_PROTOCOL, liar)
    with pytest.raises(BadContent):
        await door.ask(HOME)
    await door.asker.close()
    await door.answerer.close()
