"""A peer that nobody can dial: out of the tables, reached over a relay, until that changes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.p2pd.process import Mode
from paris_p2p.network.reach import relays
from paris_p2p.network.reach.dial_back import DIALBACK_PROTOCOL, Budget, DialbackServer
from paris_p2p.network.reach.reachability import first_mode
from paris_p2p.network.reach.reachability_types import ReachState, Way
from paris_p2p.network.swarm import Stream
from tests.network.worlds import LibP2PWorld, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.process]

GREET = "/paris/greet/1"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LibP2PWorld]:
    """On a loaded machine p2pd may relay little; what is said here is less."""
    monkeypatch.setattr(relays, "LEAST_BYTES", 1)
    async with LibP2PWorld() as world:
        yield world


async def greet(author: bytes, stream: Stream) -> None:
    await stream.write(b"hello")


async def hear(listener: HivemindSwarm, greeter: HivemindSwarm) -> bytes:
    stream = await listener.open(greeter.author, GREET, greeter.addresses())
    try:
        return await stream.read_exactly(5)
    finally:
        await stream.close()


async def witness(peer: HivemindSwarm, whom: dict[str, bytes]) -> None:
    """Have `peer` dial back who asks; `whom` says who answers at which transport."""

    async def announced_by(author: bytes) -> list[str]:
        return []

    async def dial_at(transport: str) -> bytes:
        if transport not in whom:
            raise Unreachable("nobody there")
        return whom[transport]

    server = DialbackServer(peer.seen_at, announced_by, Budget(lambda: 0.0), dial_at)
    await peer.serve(DIALBACK_PROTOCOL, server)


async def relay_of(world: LibP2PWorld) -> HivemindSwarm:
    """A peer that relays: announced addresses count as public."""
    first = await world.start()
    place = first._host.listen_config
    await first.close()
    return await world.start(
        identity=place.identity, port=place.port, announce=(place.transport,), heal_period=0.5
    )


@pytest.mark.parametrize(
    ("announced", "was", "serve", "mode"),
    [
        (False, ReachState.UNKNOWN, True, Mode.PLAIN),
        (False, ReachState.PRIVATE, True, Mode.PUNCH),
        (False, ReachState.PUBLIC, True, Mode.RELAY),
        (True, ReachState.UNKNOWN, True, Mode.RELAY),
        (True, ReachState.PUBLIC, False, Mode.PLAIN),
    ],
)
async def test_the_mode_to_begin_in(
    announced: bool, was: ReachState, serve: bool, mode: Mode
) -> None:
    assert first_mode(announced, was, serve) is mode


async def test_who_cannot_be_dialled_is_reached_over_a_relay(world: LibP2PWorld) -> None:
    relay = await relay_of(world)
    assert relay.reachability().serves_relay
    await witness(relay, {})
    hidden = await world.start(bootstrap=relay.addresses(), heal_period=0.5)
    await hidden.serve(GREET, greet)
    await eventually(lambda: hidden.reachability().relays == tuple(relay.addresses()))
    found = hidden.reachability()
    assert (found.state, found.missed_by) == (ReachState.PRIVATE, 1)
    assert [address.count("/p2p-circuit/") for address in hidden.addresses()] == [1]
    await eventually(lambda: relay.peers() == 0)
    other = await world.start(bootstrap=relay.addresses())
    assert await hear(other, hidden) == b"hello"
    assert await other.way_to(hidden.author) is not Way.NONE
    assert await hidden.way_to(relay.author) is Way.DIRECT


async def test_a_peer_that_nobody_can_dial_is_a_way_in(world: LibP2PWorld) -> None:
    """The address over a relay, which it tells others, is all that a newcomer needs."""
    relay = await relay_of(world)
    await witness(relay, {})
    hidden = await world.start(bootstrap=relay.addresses(), heal_period=0.5)
    await eventually(lambda: "/p2p-circuit/" in "".join(hidden.addresses()))
    await eventually(lambda: relay.peers() == 0)
    newcomer = await world.start(bootstrap=hidden.addresses(), require_contact=True)
    assert newcomer.online()
    assert hidden.addresses()[0] in newcomer.known_addresses()
    assert await newcomer.store("k", b"value", time.time() + 60)
    assert [entry.value for entry in await hidden.lookup("k")] == [b"value"]


async def test_who_can_be_dialled_again_leaves_its_relays(world: LibP2PWorld) -> None:
    relay = await relay_of(world)
    whom: dict[str, bytes] = {}
    await witness(relay, whom)
    peer = await world.start(bootstrap=relay.addresses(), heal_period=0.5)
    await eventually(lambda: peer.reachability().state is ReachState.PRIVATE)
    whom[f"/ip4/127.0.0.1/tcp/{peer.port}"] = peer.author
    peer._reachability_keeper._asked = (0.0, ())
    await eventually(lambda: peer.reachability().state is ReachState.PUBLIC)
    await eventually(lambda: relay.peers() == 1)
    assert not any("/p2p-circuit/" in address for address in peer.addresses())


async def test_named_relays_are_used_by_who_needs_none(world: LibP2PWorld) -> None:
    relay = await relay_of(world)
    peer = await world.start(relays=relay.addresses(), bootstrap=relay.addresses(), heal_period=0.5)
    await eventually(lambda: any("/p2p-circuit/" in address for address in peer.addresses()))
    assert peer.addresses()[0].startswith(f"/ip4/127.0.0.1/tcp/{peer.port}/p2p/")


async def test_a_relay_that_dies_is_not_told_of_any_more(world: LibP2PWorld) -> None:
    relay = await relay_of(world)
    peer = await world.start(relays=relay.addresses(), bootstrap=relay.addresses(), heal_period=0.5)
    await eventually(lambda: peer.reachability().relays != ())
    await world.kill(relay)
    await eventually(lambda: peer.reachability().relays == ())
