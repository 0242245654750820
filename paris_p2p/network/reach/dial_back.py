"""The dial-back protocol: can you reach me at these addresses?

Goals
    A peer learns whether its addresses lead to it from outside, and where others see it.
    Nobody can be made to dial a third party: see `may_dial` and `Budget`.

Non-goals
    QUIC, names, relayed addresses, and finding out what kind of router is in between.

    stream    /paris/dialback/1
    question  u16 length, canonical msgpack: [transport, ...], at most 8, without PeerID
    answer    u16 length, canonical msgpack: {"seen": [transport, ...],
                                              "dials": [{"transport", "verdict", "reason"}, ...]}

`seen` lists where the asker's connections come from, as the answerer sees them. The verdict is
"reached" (the asker's own key was proven there), "failed", "refused" (not an address of the asker)
or "busy".
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from paris_p2p.errors import BadContent, Unreachable
from paris_p2p.identity import Author
from paris_p2p.network.dht.subnets import network_in
from paris_p2p.network.reach.handshake import PATIENCE, author_at
from paris_p2p.network.stream_permits import NetworkOf, nowhere
from paris_p2p.network.swarm import PROTOCOL_PREFIX, Stream
from paris_p2p.records.address import ip_of, is_public, tcp_endpoint
from paris_p2p.records.codec import decode, encode
from paris_p2p.records.fields import Checked, Many, OneOf, Part, Text

DIALBACK_PROTOCOL = PROTOCOL_PREFIX + "dialback/1"

MAX_ADDRESSES = 8
"""Addresses in one question."""

MAX_MESSAGE = 8192
"""Bytes of a question or an answer."""

ANSWER_PATIENCE = 2 * PATIENCE + 5
"""Seconds an asker waits: one lookup, then all dials at once."""

WINDOW = 60.0
ACTS_PER_AUTHOR = 24
ACTS_PER_WINDOW = 192
"""Questions and dials per WINDOW seconds, for one asker and for all. One network gets no more than
half of what the others have left."""

_LENGTH = struct.Struct(">H")

_Transport = Annotated[str, Text(256, shortest=1)]

DialAt = Callable[[str], Awaitable[Author]]
"""The key of the peer that answers at a transport. Raises Unreachable."""

SeenAt = Callable[[Author], Awaitable[Sequence[str]]]
"""Transports that a peer's connections to us come from, relayed ones left out."""

AnnouncedBy = Callable[[Author], Awaitable[Collection[str]]]
"""Transports that a peer announces to everybody, without PeerID."""


@dataclass(frozen=True)
class Question(Checked):
    transports: Annotated[tuple[str, ...], Many(Text(256, shortest=1), most=MAX_ADDRESSES)]


@dataclass(frozen=True)
class Dial(Checked):
    """The result for one address."""

    transport: _Transport
    verdict: Annotated[str, OneOf(("reached", "failed", "refused", "busy"))]
    reason: Annotated[str, Text(160)] = ""


@dataclass(frozen=True)
class DialBackAnswer(Checked):
    seen: Annotated[tuple[str, ...], Many(Text(256, shortest=1), most=MAX_ADDRESSES)]
    dials: Annotated[tuple[Dial, ...], Many(Part(Dial), most=MAX_ADDRESSES)]


class Budget:
    """Limits the acts per asker and network. Counts are reset every WINDOW seconds of `clock`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._by_author: Counter[Author] = Counter()
        self._by_network: Counter[str] = Counter()

    def take(self, author: Author, network: str) -> bool:
        """Count one act for this asker; False when none is left for it or its network."""
        if self._clock() - self._began >= WINDOW:
            self._began = self._clock()
            self._by_author.clear()
            self._by_network.clear()
        of_network = self._by_network[network]
        left_by_others = ACTS_PER_WINDOW - (self._by_network.total() - of_network)
        left = self._by_author[author] < ACTS_PER_AUTHOR and of_network < left_by_others // 2
        self._by_author[author] += left
        self._by_network[network] += left
        return left


def may_dial(transport: str, seen: Collection[str], announced: Collection[str]) -> bool:
    """Whether an asker may have us dial `transport`.

    Only literal TCP addresses are allowed: at an IP that the asker is seen to come from, or a
    global one that it announces, because readers of the announcement dial it anyway.
    """
    try:
        endpoint = tcp_endpoint(transport)
    except BadContent:
        return False
    host = ip_of(transport)
    if endpoint is None or host is None:
        return False
    return host in map(ip_of, seen) or (transport in announced and is_public(host))


class DialbackServer:
    """Answers peers that ask to be dialled back. Pass it to `Swarm.serve`."""

    def __init__(
        self,
        seen_at: SeenAt,
        announced_by: AnnouncedBy,
        budget: Budget,
        dial_at: DialAt = author_at,
        network_of: NetworkOf = nowhere,
    ) -> None:
        self._seen_at = seen_at
        self._announced_by = announced_by
        self._budget = budget
        self._dial_at = dial_at
        self._network_of = network_of

    async def __call__(self, author: Author, stream: Stream) -> None:
        question = Question.from_body({"transports": await _receive(stream)})
        seen = None
        network = await self._network_of(author)
        if not network:  # most askers have connected only a moment ago
            seen = await self._seen_at(author)
            network = network_in("".join(seen[:1]))
        if not self._budget.take(author, network):
            return
        if seen is None:
            seen = await self._seen_at(author)
        await _send(stream, (await self._answer(author, network, seen, question)).to_body())

    async def _answer(
        self, author: Author, network: str, seen: Sequence[str], question: Question
    ) -> DialBackAnswer:
        wanted = dict.fromkeys(question.transports)
        announced = await self._vouched(author, wanted, seen)
        dials = await asyncio.gather(
            *(self._dial(author, network, transport, seen, announced) for transport in wanted)
        )
        return DialBackAnswer(tuple(seen[:MAX_ADDRESSES]), tuple(dials))

    async def _vouched(
        self, author: Author, wanted: Collection[str], seen: Collection[str]
    ) -> Collection[str]:
        """The asker's announced addresses; not looked up if they would allow no further dial."""
        elsewhere = [transport for transport in wanted if not may_dial(transport, seen, ())]
        if any(may_dial(transport, seen, (transport,)) for transport in elsewhere):
            return await self._announced_by(author)
        return ()

    async def _dial(
        self,
        author: Author,
        network: str,
        transport: str,
        seen: Collection[str],
        announced: Collection[str],
    ) -> Dial:
        if not may_dial(transport, seen, announced):
            return Dial(transport, "refused", "not an address that you come from or announce")
        if not self._budget.take(author, network):
            return Dial(transport, "busy", "too many dials have been asked for")
        try:
            found = await self._dial_at(transport)
        except Unreachable as error:
            return Dial(transport, "failed", error.message[:160])
        if found != author:
            return Dial(transport, "failed", "another peer answers there")
        return Dial(transport, "reached")


async def ask_dialback(stream: Stream, transports: Sequence[str]) -> DialBackAnswer:
    """Ask the peer at the other end to dial these transports of ours.

    Results for other transports are left out. Raises StreamClosed, and BadContent for an invalid
    answer.
    """
    await _send(stream, list(transports[:MAX_ADDRESSES]))
    body = await _receive(stream)
    if not isinstance(body, dict):
        raise BadContent("a peer's dial-back answer is not a map")
    answer = DialBackAnswer.from_body(body)
    dials = {dial.transport: dial for dial in answer.dials if dial.transport in transports}
    return DialBackAnswer(answer.seen, tuple(dials.values()))


async def _send(stream: Stream, body: object) -> None:
    message = encode(body)
    await stream.write(_LENGTH.pack(len(message)) + message)


async def _receive(stream: Stream) -> object:
    """One message; its size is checked before it is read."""
    (length,) = _LENGTH.unpack(await stream.read_exactly(_LENGTH.size, patience=ANSWER_PATIENCE))
    if length > MAX_MESSAGE:
        raise BadContent(f"a dial-back message of {length} bytes, over {MAX_MESSAGE}")
    return decode(await stream.read_exactly(length), MAX_MESSAGE)
