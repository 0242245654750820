from __future__ import annotations

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.allowlist import listed_only
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.swarm import Stream, StreamClosed, Swarm

ECHO = "/paris/echo/1"


async def three() -> tuple[MemoryNetwork, MemorySwarm, MemorySwarm, MemorySwarm]:
    network = MemoryNetwork()
    peers = [network.join(Identity.generate().author, inactivity=1) for _ in range(3)]
    for peer in peers[1:]:
        await peer.connect(peers[0].addresses()[0])
    return network, peers[0], peers[1], peers[2]


async def echo(author: bytes, stream: Stream) -> None:
    await stream.write(await stream.read_exactly(2))


async def heard(by: Swarm, author: bytes) -> bytes:
    stream = await by.open(author, ECHO)
    try:
        await stream.write(b"hi")
        return await stream.read_exactly(2)
    finally:
        await stream.close()


async def test_only_the_listed_are_heard_answered_and_asked() -> None:
    network, alice, bob, stranger = await three()
    members = listed_only(alice, lambda author: author in (alice.author, bob.author))
    for peer in (alice, bob, stranger):
        await peer.store("key", peer.author, network.clock() + 60)
        await peer.serve(ECHO, echo)
    await members.serve(ECHO, echo)

    owners = {entry.owner for entry in await members.lookup("key")}
    assert owners == {alice.author, bob.author}
    assert await heard(bob, alice.author) == b"hi" == await heard(members, bob.author)
    with pytest.raises(StreamClosed):
        await heard(stranger, alice.author)
    with pytest.raises(Unreachable, match="not a member of the run"):
        await heard(members, stranger.author)


async def test_who_is_listed_later_counts_from_then_on() -> None:
    network, alice, bob, _ = await three()
    listed = {alice.author}
    members = listed_only(alice, listed.__contains__)
    await bob.store("key", b"here", network.clock() + 60)
    assert await members.lookup("key") == []
    listed.add(bob.author)
    assert [entry.owner for entry in await members.lookup("key")] == [bob.author]


async def test_everything_else_is_the_swarms() -> None:
    _, alice, _, _ = await three()
    members = listed_only(alice, lambda author: False)
    assert (members.author, members.peers()) == (alice.author, 2)
