"""Private swarms: a peer answers only those who prove that they know the swarm's key.

p2pd does not offer libp2p's own private networks, so this is done above it. Before a DHT call or a
stream is answered, the two peers prove to each other, once, that they hold the same 32 random
bytes.

    stream    /paris/member/1
    opener    32 bytes  a nonce
    server    32 bytes  a nonce
    opener    32 bytes  its proof
    server     1 byte   1 "welcome", or 0 "your key is not ours" and the end
              32 bytes  its proof, after a welcome only

A proof is BLAKE3, keyed with the swarm's key, over the prover's role, both PeerIDs' keys and both
nonces. Against

    replay       both sides contribute a fresh nonce
    reflection   the role is part of the proof
    relaying     the PeerIDs, authenticated by libp2p, are part of it: a proof made for one
                 connection is worth nothing on another
    guessing     the key is random; there is no passphrase to try
    a flood      handshakes have a limited number of places and a time limit; when all places are
                 taken, a new handshake ends the oldest

Goals: records and content stay within the swarm, and joining the wrong one fails at once with a
clear error. Non-goals: to hide who takes part (libp2p's peer routing answers anybody), and to keep
out anybody who has the key. A leaked key is replaced by a new one at every peer.

A member forgets proofs when it restarts. It then refuses, and the other side proves again. The
first byte that it sends on a stream is 1 "go ahead"; otherwise the stream ends. An open swarm does
none of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Author, peer_id_of
from paris_p2p.network.swarm import PROTOCOL_PREFIX, Handler, Stream, StreamClosed
from paris_p2p.network.swarm_key import NONCE, SwarmKey

T = TypeVar("T")

MEMBER_PROTOCOL = PROTOCOL_PREFIX + "member/1"

REMEMBERED = 3600.0
"""Seconds that a proof lasts."""

MOST_REMEMBERED = 8192
"""Members remembered at a time: a member with many made-up PeerIDs must not fill our memory."""

HANDSHAKES = 32
"""Handshakes that we answer at a time."""

PATIENCE = 5.0
"""Seconds that a handshake may take."""

WELCOME, UNKNOWN = b"\1", b"\0"

Open = Callable[[Author, str], Awaitable[Stream]]
"""Opens a stream to a peer under a protocol. Raises `Unreachable`."""

Call = Callable[[], Awaitable[T]]


class NotAdmitted(Unreachable):
    """One of the two peers belongs to another swarm."""


class Membership(Protocol):
    """Whom we answer, and how others admit us."""

    def handlers(self) -> dict[str, Handler]:
        """The protocols that strangers may use."""

    def admits(self, author: Author | None) -> bool:
        """Whether to answer a caller."""

    async def ensure(self, author: Author) -> None:
        """Be admitted by a peer, and admit it. Raises `NotAdmitted`, `Unreachable`."""

    async def call(self, author: Author, call: Call[T], refusal: type[Exception]) -> T:
        """The result of `call`, which raises `refusal` when the peer does not admit us."""

    async def open(self, author: Author, protocol: str) -> Stream:
        """A new stream to a peer that has admitted us. Raises `Unreachable`."""

    async def greet(self, stream: Stream) -> bool:
        """Whether to answer a stream opened to us; tells its opener."""

    async def explain(self, author: Author) -> None:
        """Raise `NotAdmitted` if an unanswering peer belongs to a private swarm."""


def membership(key: SwarmKey | None, author: Author, dial: Open) -> Membership:
    """The membership of peer `author` in the swarm with `key`; no key: an open swarm."""
    return OpenSwarm(dial) if key is None else PrivateSwarm(key, author, dial)


class OpenSwarm:
    """Admits everybody."""

    def __init__(self, dial: Open) -> None:
        self._dial = dial

    def handlers(self) -> dict[str, Handler]:
        return {}

    def admits(self, author: Author | None) -> bool:
        return True

    async def ensure(self, author: Author) -> None:
        return None

    async def call(self, author: Author, call: Call[T], refusal: type[Exception]) -> T:
        return await call()

    async def open(self, author: Author, protocol: str) -> Stream:
        return await self._dial(author, protocol)

    async def greet(self, stream: Stream) -> bool:
        return True

    async def explain(self, author: Author) -> None:
        try:
            stream = await self._dial(author, MEMBER_PROTOCOL)
        except Unreachable:
            return
        await stream.close()
        raise NotAdmitted("this swarm is private", "Give its key with --swarm-key-file")


class PrivateSwarm:
    """Admits those who know the key."""

    def __init__(
        self,
        key: SwarmKey,
        author: Author,
        dial: Open,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._key = key
        self._author = author
        self._dial = dial
        self._clock = clock
        self._patience = patience
        self._members: dict[Author, float] = {}
        self._proving: dict[Author, asyncio.Task[None]] = {}
        self._answering: dict[Stream, None] = {}

    def handlers(self) -> dict[str, Handler]:
        return {MEMBER_PROTOCOL: self._answer}

    def admits(self, author: Author | None) -> bool:
        return author is not None and self._members.get(author, 0.0) > self._clock()

    async def ensure(self, author: Author) -> None:
        if self.admits(author):
            return
        if author not in self._proving:
            self._proving[author] = proving = asyncio.create_task(self._prove(author))
            proving.add_done_callback(lambda done: self._proved(author, done))
        await asyncio.shield(self._proving[author])

    async def call(self, author: Author, call: Call[T], refusal: type[Exception]) -> T:
        if self.admits(author):
            with contextlib.suppress(refusal):
                return await call()
            self._members.pop(author, None)
        await self.ensure(author)
        return await call()

    async def open(self, author: Author, protocol: str) -> Stream:
        if self.admits(author):
            with contextlib.suppress(StreamClosed):
                return await self._greeted(author, protocol)
            self._members.pop(author, None)
        await self.ensure(author)
        return await self._greeted(author, protocol)

    async def greet(self, stream: Stream) -> bool:
        if self.admits(stream.author):
            await stream.write(WELCOME)
            return True
        return False

    async def explain(self, author: Author) -> None:
        return None

    async def _greeted(self, author: Author, protocol: str) -> Stream:
        stream = await self._dial(author, protocol)
        try:
            if await stream.read_exactly(len(WELCOME)) == WELCOME:
                return stream
            raise Unreachable(f"peer {peer_id_of(author)} does not answer as a member would")
        except BaseException:
            await stream.close()
            raise

    async def _prove(self, author: Author) -> None:
        try:
            stream = await self._dial(author, MEMBER_PROTOCOL)
        except Unreachable as error:
            raise NotAdmitted(
                f"peer {peer_id_of(author)} is not in a private swarm, or not reachable",
                "Leave --swarm-key-file out to join an open swarm",
            ) from error
        try:
            async with asyncio.timeout(self._patience):
                await self._ask(author, stream)
        except (StreamClosed, TimeoutError) as error:
            raise Unreachable(
                f"peer {peer_id_of(author)} did not finish the handshake of members"
            ) from error
        finally:
            await stream.close()
        self._admit(author)

    def _proved(self, author: Author, proving: asyncio.Task[None]) -> None:
        del self._proving[author]
        if not proving.cancelled():
            proving.exception()  # waiters get it; asyncio must not complain if none is left

    async def _ask(self, author: Author, stream: Stream) -> None:
        """The opener's part. Raises `NotAdmitted` unless both sides hold the same key."""
        ours = secrets.token_bytes(NONCE)
        await stream.write(ours)
        nonces = ours + await stream.read_exactly(NONCE)
        await stream.write(self._key.proof(b"opener", self._author, author, nonces))
        verdict = await stream.read_exactly(len(WELCOME))
        expected = self._key.proof(b"server", self._author, author, nonces)
        if verdict != WELCOME or not hmac.compare_digest(
            await stream.read_exactly(NONCE), expected
        ):
            raise NotAdmitted(
                "the swarm key does not match that of the swarm to join",
                "Ask a member for a copy of its key file",
            )

    async def _answer(self, author: Author, stream: Stream) -> None:
        """The server's part. If all places are taken, the oldest handshake is ended."""
        if len(self._answering) >= HANDSHAKES:
            longest = next(iter(self._answering))
            del self._answering[longest]
            await longest.close()
        self._answering[stream] = None
        try:
            async with asyncio.timeout(self._patience):
                await self._examine(author, stream)
        except TimeoutError:
            return
        finally:
            self._answering.pop(stream, None)

    async def _examine(self, author: Author, stream: Stream) -> None:
        theirs = await stream.read_exactly(NONCE)
        ours = secrets.token_bytes(NONCE)
        await stream.write(ours)
        nonces = theirs + ours
        proof = await stream.read_exactly(NONCE)
        if not hmac.compare_digest(proof, self._key.proof(b"opener", author, self._author, nonces)):
            await stream.write(UNKNOWN)
            return
        self._admit(author)
        await stream.write(WELCOME + self._key.proof(b"server", author, self._author, nonces))

    def _admit(self, author: Author) -> None:
        self._members.pop(author, None)
        self._members[author] = self._clock() + REMEMBERED
        if len(self._members) > MOST_REMEMBERED:
            del self._members[next(iter(self._members))]
