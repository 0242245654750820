"""Private swarms: the handshake alone, on streams in memory; then real peers on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network import private_swarm as module
from paris_p2p.network.dht.light_hivemind import P2PHandlerError, dht_pb2
from paris_p2p.network.dht.validator import key_digest
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.p2pd.daemon import peer_id
from paris_p2p.network.private_swarm import (
    MEMBER_PROTOCOL,
    REMEMBERED,
    UNKNOWN,
    WELCOME,
    NotAdmitted,
    OpenSwarm,
    PrivateSwarm,
    membership,
)
from paris_p2p.network.swarm import Stream, StreamClosed
from paris_p2p.network.swarm_key import SwarmKey
from tests.network.worlds import LibP2PWorld, eventually

KEY = SwarmKey(bytes(range(32)))
OTHER_KEY = SwarmKey(bytes(32))
TELL = "/paris/tell/1"


class Peer:
    """A peer that has nothing but its membership."""

    def __init__(self, network: MemoryNetwork, key: SwarmKey, **options: float) -> None:
        self.now = 0.0
        self.swarm: MemorySwarm = network.join(Identity.generate().author, inactivity=2)
        self.author = self.swarm.author
        self.members = PrivateSwarm(
            key, self.author, self.swarm.open, clock=lambda: self.now, **options
        )

    async def serve(self) -> None:
        for protocol, handler in self.members.handlers().items():
            await self.swarm.serve(protocol, handler)

    async def meet(self, other: Peer) -> None:
        await self.swarm.connect(other.swarm.addresses()[0])


async def pair(first: SwarmKey = KEY, second: SwarmKey = KEY, **options: float) -> list[Peer]:
    network = MemoryNetwork()
    peers = [Peer(network, first, **options), Peer(network, second, **options)]
    for peer in peers:
        await peer.serve()
    await peers[0].meet(peers[1])
    return peers


async def test_two_who_know_the_key_admit_each_other() -> None:
    alice, bob = await pair()
    assert not alice.members.admits(bob.author)
    await alice.members.ensure(bob.author)
    assert alice.members.admits(bob.author) and bob.members.admits(alice.author)


async def test_who_has_another_key_is_told_so_and_nobody_is_admitted() -> None:
    alice, bob = await pair(KEY, OTHER_KEY)
    with pytest.raises(NotAdmitted, match="the swarm key does not match"):
        await alice.members.ensure(bob.author)
    assert not alice.members.admits(bob.author) and not bob.members.admits(alice.author)


async def test_who_has_no_key_is_told_that_the_swarm_is_private() -> None:
    alice, bob = await pair()
    outside = OpenSwarm(alice.swarm.open)
    with pytest.raises(NotAdmitted, match=r"this swarm is private\. Give its key"):
        await outside.explain(bob.author)


async def test_an_open_swarm_costs_no_handshake() -> None:
    async def never(author: bytes, protocol: str) -> Stream:
        raise Unreachable("nothing is to be opened")

    everybody = membership(None, b"", never)
    await everybody.ensure(b"a")
    await everybody.explain(b"a")
    assert everybody.admits(None) and everybody.handlers() == {}
    assert await everybody.call(b"a", lambda: asyncio.sleep(0, "said"), KeyError) == "said"


async def test_a_proof_lasts_a_while_and_is_asked_for_again() -> None:
    alice, bob = await pair()
    await alice.members.ensure(bob.author)
    bob.now = REMEMBERED + 1
    assert not bob.members.admits(alice.author)


async def test_a_member_that_has_forgotten_us_is_proven_to_again() -> None:
    alice, bob = await pair()
    await alice.members.ensure(bob.author)
    bob.now = REMEMBERED + 1

    async def ask() -> str:
        if not bob.members.admits(alice.author):
            raise KeyError("refused")
        return "answered"

    assert await alice.members.call(bob.author, ask, KeyError) == "answered"


async def test_a_refusal_after_a_fresh_proof_is_final() -> None:
    alice, bob = await pair()

    async def refuse() -> None:
        raise KeyError("refused")

    with pytest.raises(KeyError):
        await alice.members.call(bob.author, refuse, KeyError)


async def test_streams_are_greeted_and_opened_again_after_a_refusal() -> None:
    alice, bob = await pair()

    async def echo(author: bytes, stream: Stream) -> None:
        if await bob.members.greet(stream):
            await stream.write(await stream.read_exactly(2))

    await bob.swarm.serve("/paris/echo/1", echo)
    await alice.members.ensure(bob.author)
    for bob.now in (0.0, REMEMBERED + 1):
        stream = await alice.members.open(bob.author, "/paris/echo/1")
        await stream.write(b"hi")
        assert await stream.read_exactly(2) == b"hi"
        await stream.close()


async def test_a_stranger_gets_not_one_byte_of_a_stream() -> None:
    alice, bob = await pair()

    async def tell(author: bytes, stream: Stream) -> None:
        if await bob.members.greet(stream):
            await stream.write(b"secret")

    await bob.swarm.serve(TELL, tell)
    stream = await alice.swarm.open(bob.author, TELL)
    with pytest.raises(StreamClosed):
        await stream.read_exactly(1)


async def test_many_calls_at_once_share_one_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = await pair()
    asked: list[bytes] = []
    ask = PrivateSwarm._ask

    async def counted(self: PrivateSwarm, author: bytes, stream: Stream) -> None:
        asked.append(author)
        await ask(self, author, stream)

    monkeypatch.setattr(PrivateSwarm, "_ask", counted)
    await asyncio.gather(*(alice.members.ensure(bob.author) for _ in range(20)))
    assert asked == [bob.author]


# Attackers. Each speaks the protocol byte by byte over an authenticated stream.


async def hear(stream: Stream) -> tuple[bytes, bytes]:
    """Play the server until the opener has sent its proof: the nonces, and the proof."""
    theirs = await stream.read_exactly(32)
    await stream.write(bytes(32))
    return theirs + bytes(32), await stream.read_exactly(32)


async def test_a_recorded_proof_is_worth_nothing_the_next_time() -> None:
    alice, bob = await pair()
    proof = KEY.proof(b"opener", alice.author, bob.author, bytes(32) + b"an earlier nonce of Bob's")
    stream = await alice.swarm.open(bob.author, MEMBER_PROTOCOL)
    await stream.write(bytes(32))
    await stream.read_exactly(32)
    await stream.write(proof)
    assert await stream.read_exactly(1) == UNKNOWN
    assert not bob.members.admits(alice.author)


async def test_a_members_own_proof_cannot_be_reflected() -> None:
    """Mallory has Alice prove herself to it, and says the same back to her as a server would."""
    alice, mallory = await pair(KEY, OTHER_KEY)

    async def reflect(author: bytes, stream: Stream) -> None:
        _, proof = await hear(stream)
        await stream.write(WELCOME + proof)

    await mallory.swarm.serve(MEMBER_PROTOCOL, reflect)
    with pytest.raises(NotAdmitted):
        await alice.members.ensure(mallory.author)


async def test_a_handshake_cannot_be_relayed_to_a_member() -> None:
    """Mallory stands between Alice, who dials it, and Bob, and passes every byte on."""
    alice, bob = await pair()
    mallory = Peer(alice.swarm._network, OTHER_KEY)
    await mallory.meet(bob)
    verdicts: list[bytes] = []

    async def relay(author: bytes, stream: Stream) -> None:
        onward = await mallory.swarm.open(bob.author, MEMBER_PROTOCOL)
        await onward.write(await stream.read_exactly(32))
        await stream.write(await onward.read_exactly(32))
        await onward.write(await stream.read_exactly(32))
        verdicts.append(await onward.read_exactly(1))
        await stream.write(verdicts[0])

    await mallory.swarm.serve(MEMBER_PROTOCOL, relay)
    with pytest.raises(NotAdmitted):
        await alice.members.ensure(mallory.author)
    assert verdicts == [UNKNOWN]
    assert not bob.members.admits(mallory.author) and not alice.members.admits(mallory.author)


async def test_a_server_that_only_says_welcome_is_not_admitted() -> None:
    alice, mallory = await pair(KEY, OTHER_KEY)

    async def welcome(author: bytes, stream: Stream) -> None:
        await hear(stream)
        await stream.write(WELCOME + bytes(32))

    await mallory.swarm.serve(MEMBER_PROTOCOL, welcome)
    with pytest.raises(NotAdmitted):
        await alice.members.ensure(mallory.author)
    assert not alice.members.admits(mallory.author)


async def test_a_silent_server_is_given_up_by_the_limit() -> None:
    alice, frozen = await pair(patience=0.1)

    async def hang(author: bytes, stream: Stream) -> None:
        await asyncio.sleep(60)

    await frozen.swarm.serve(MEMBER_PROTOCOL, hang)
    with pytest.raises(Unreachable, match="did not finish the handshake"):
        await alice.members.ensure(frozen.author)
    await frozen.swarm.close()


async def test_a_flood_of_silent_handshakes_does_not_keep_a_member_out() -> None:
    alice, bob = await pair(patience=60)
    flooders = [Peer(bob.swarm._network, OTHER_KEY) for _ in range(module.HANDSHAKES + 8)]
    held = []
    for flooder in flooders:
        await flooder.meet(bob)
        stream = await flooder.swarm.open(bob.author, MEMBER_PROTOCOL)
        await stream.write(bytes(32))
        held.append(stream)
    await eventually(lambda: len(bob.members._answering) == module.HANDSHAKES)
    await alice.members.ensure(bob.author)
    assert bob.members.admits(alice.author)
    assert len(bob.members._answering) < module.HANDSHAKES + 1
    for stream in held:
        await stream.close()


async def test_made_up_members_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    _, bob = await pair()
    for number in range(5):
        bob.members._admit(bytes([number]) * 32)
    assert len(bob.members._members) == 3
    assert bob.members.admits(b"\4" * 32) and not bob.members.admits(b"\0" * 32)


# Real peers.


@pytest.fixture
async def world() -> AsyncIterator[LibP2PWorld]:
    async with LibP2PWorld() as world:
        yield world


SECRET = b"secret"


async def telling(world: LibP2PWorld) -> tuple[HivemindSwarm, HivemindSwarm]:
    """Two members; the second tells the secret to whoever opens a stream."""
    alice, bob = await world.circle(2, swarm_key=KEY)

    async def tell(author: bytes, stream: Stream) -> None:
        await stream.write(SECRET)

    await bob.serve(TELL, tell)
    return alice, bob


async def told(peer: HivemindSwarm, by: HivemindSwarm) -> bytes:
    stream = await peer.open(by.author, TELL, by.addresses())
    try:
        return await stream.read_exactly(len(SECRET))
    finally:
        await stream.close()


@pytest.mark.process
async def test_members_speak_freely_and_again_after_one_has_forgotten(world: LibP2PWorld) -> None:
    alice, bob = await telling(world)
    for value in (b"first", b"second"):
        assert await alice.store("key", value, time.time() + 60)
        assert [entry.value for entry in await bob.lookup("key")] == [value]
        assert await told(alice, bob) == SECRET
        bob._host.membership._members.clear()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("key", "refusal"),
    [(None, "this swarm is private"), (OTHER_KEY, "swarm key does not match")],
    ids=["no key", "another key"],
)
@pytest.mark.process
async def test_an_outsider_learns_that_it_is_one_and_nothing_else(
    world: LibP2PWorld, key: SwarmKey | None, refusal: str
) -> None:
    alice, bob = await telling(world)
    assert await alice.store("key", b"within", time.time() + 60)
    outsider = await world.start(swarm_key=key)
    with pytest.raises(NotAdmitted, match=refusal):
        await outsider.connect(bob.addresses()[0])
    with pytest.raises(NotAdmitted, match=refusal):
        await outsider._healer.join(bob.addresses()[:1], required=True)
    for method, request in (
        ("rpc_ping", dht_pb2.PingRequest()),
        ("rpc_find", dht_pb2.FindRequest(keys=[key_digest("key")])),
        ("rpc_store", dht_pb2.StoreRequest()),
    ):
        stub = outsider._node.protocol.get_stub(peer_id(bob.author))
        with pytest.raises(P2PHandlerError, match="refused"):
            await getattr(stub, method)(request, timeout=5)
    with pytest.raises(Unreachable):
        await told(outsider, bob)
    assert await outsider.lookup("key") == [] and not outsider.online()
    assert bob.peers() == 1
    with pytest.raises(StreamClosed):
        stream = await outsider._daemon.open(bob.author, TELL)
        await stream.read_exactly(1)


@pytest.mark.process
async def test_a_member_cannot_be_drawn_into_an_open_swarm(world: LibP2PWorld) -> None:
    member, open_peer = await world.start(swarm_key=KEY), await world.start()
    with pytest.raises(NotAdmitted, match="not in a private swarm"):
        await member.connect(open_peer.addresses()[0])
    assert not member.online()
