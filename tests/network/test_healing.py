"""Two swarms become one, p2pd hangs, machines sleep and move: the swarm heals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.network import healing
from paris_p2p.network.dht.validator import DhtRecord, key_digest, sign_record
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.p2pd import daemon as daemon_module
from paris_p2p.network.p2pd.listening import choose_port
from paris_p2p.network.reach.reachability import ReachabilityKeeper
from paris_p2p.network.tasks import end_tasks
from tests.chaos.gates import Gates
from tests.network.test_hivemind_swarm import nobody_here
from tests.network.worlds import LibP2PWorld, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.process]


@pytest.fixture
async def world() -> AsyncIterator[LibP2PWorld]:
    async with LibP2PWorld() as world:
        yield world


def soon() -> float:
    return time.time() + 300


def keys_held(peer: HivemindSwarm, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if peer._record_store.under(key_digest(key))]


@pytest.mark.slow
async def test_two_swarms_that_are_linked_become_one(world: LibP2PWorld) -> None:
    """One address is enough: everybody meets, and what was said before is held on both sides."""
    left = await world.circle(3, heal_period=0.5)
    right = await world.circle(3, heal_period=0.5)
    everybody = [*left, *right]
    keys = [f"key {number}" for number in range(len(everybody))]
    for key, peer in zip(keys, everybody, strict=True):
        assert await peer.store(key, key.encode(), soon())
    for peer in everybody:
        assert len(keys_held(peer, keys)) == 3
    await left[1].connect(right[2].addresses()[0])
    await eventually(lambda: all(peer.peers() == 5 for peer in everybody))
    await eventually(lambda: all(keys_held(peer, keys) == keys for peer in everybody))
    for key in keys:
        assert [entry.value for entry in await right[0].lookup(key)] == [key.encode()]


@pytest.mark.skipif(sys.platform != "linux", reason="needs loopback addresses beyond 127.0.0.1")
@pytest.mark.slow
async def test_a_swarm_that_came_apart_finds_together_by_itself(world: LibP2PWorld) -> None:
    """Both halves have neighbours of their own, so nobody is alone; they knew each other once."""
    gates = Gates()
    hosts = [f"127.0.8.{number}" for number in range(1, 5)]
    try:
        door, *rest = peers = await gated(world, gates, hosts)
        await rest[1].meet(rest[0].addresses()[0])
        await eventually(lambda: all(peer.peers() == 3 for peer in peers))
        await asyncio.to_thread(gates.part, hosts[:2], hosts[2:])
        await eventually(lambda: all(peer.peers() == 1 for peer in peers))
        gates.heal()
        await eventually(lambda: all(peer.peers() == 3 for peer in peers))
        assert await rest[2].store("k", b"value", soon())
        assert [entry.value for entry in await door.lookup("k")] == [b"value"]
    finally:
        await asyncio.to_thread(gates.close)


async def gated(world: LibP2PWorld, gates: Gates, hosts: Sequence[str]) -> list[HivemindSwarm]:
    """A peer at each host, behind a gate, all joined through the first.

    None relays: a p2pd that turns out to be a poor relay starts again, and while the swarm is
    parted, gates let nobody in who has no connection any more.
    """
    peers: list[HivemindSwarm] = []
    for host in hosts:
        port = choose_port(host, 0)
        gate = await asyncio.to_thread(gates.add, host, port)
        peer = await world.start(
            listen=host,
            port=port,
            announce=[f"/ip4/{host}/tcp/{gate}"],
            bootstrap=peers[0].addresses() if peers else (),
            heal_period=0.5,
            serve_relay=False,
        )
        peers.append(peer)
    return peers


async def test_a_dozen_dead_peers_are_one_line_in_the_log(
    world: LibP2PWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await world.start(known=[nobody_here() for _ in range(12)], heal_period=60.0)
    said = [record.message for record in caplog.records if record.levelno >= logging.INFO]
    assert [line.split(":")[0] for line in said] == ["12 of 12 known peers do not answer"]


async def test_a_bootstrap_that_answers_at_a_later_attempt_has_answered(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one that is no neighbour of ours yet."""
    peer = await world.start(heal_period=60.0)
    asked: list[str] = []

    async def answers_late(address: str) -> None:
        asked.append(address)
        if len(asked) == 1:
            raise Unreachable(f"nobody answers at {address}")

    monkeypatch.setattr(healing, "JOIN_PAUSES", (0.01, 0.01))
    monkeypatch.setattr(peer._healer, "_introduce", answers_late)
    late = nobody_here()
    await peer._healer.join([late], required=True)
    assert asked == [late, late]


async def test_who_was_met_is_remembered_as_a_way_back(world: LibP2PWorld) -> None:
    door, other = await world.circle(2)
    peer = await world.start(bootstrap=door.addresses())
    await peer.meet(other.addresses()[0])
    assert peer.known_addresses() == [other.addresses()[0], door.addresses()[0]]


async def test_a_record_gets_new_holders_when_its_old_ones_are_gone(world: LibP2PWorld) -> None:
    first, second = await world.circle(2, heal_period=0.5)
    await eventually(lambda: first.store("k", b"value", soon()))
    third = await world.start(bootstrap=first.addresses(), heal_period=0.5)
    await world.kill(second)
    await eventually(lambda: keys_held(third, ["k"]) == ["k"])


@pytest.mark.slow
async def test_a_p2pd_that_hangs_is_ended_and_built_again(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "HEARTBEAT", 0.1)
    monkeypatch.setattr(daemon_module, "HEARTBEAT_PATIENCE", 1.0)
    monkeypatch.setattr(daemon_module, "STOP_TIMEOUT", 0.2)
    one, two = await world.circle(2, heal_period=0.5)
    assert await one.store("k", b"value", soon())
    hung = two.p2pd_pid
    os.kill(hung, signal.SIGSTOP)
    await eventually(lambda: two.p2pd_pid != hung and two.online())
    assert [entry.value for entry in await two.lookup("k")] == [b"value"]


async def test_a_record_that_is_spread_twice_at_a_time_is_taken_twice(world: LibP2PWorld) -> None:
    one, _ = await world.circle(2)
    record = sign_record(one._host.listen_config.identity, key_digest("k"), b"value", soon())
    spreading = (one._node.spread(record) for _ in range(2))
    assert await asyncio.gather(*spreading) == [(1, 0), (1, 0)]


async def test_a_p2pd_that_answers_is_left_alone(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "HEARTBEAT", 0.01)
    peer = await world.start()
    pid = peer.p2pd_pid
    for _ in range(20):
        assert await peer._daemon._answers()
    assert peer.p2pd_pid == pid


async def test_after_a_sleep_everything_is_said_again_at_once(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may have forgotten us and what we said, although nothing here has changed."""
    one, other = await world.circle(2, heal_period=60.0)
    await eventually(lambda: one.peers() == other.peers() == 1)
    await one.store("k", b"value", soon())
    said: list[bytes] = []

    async def spread(record: DhtRecord) -> tuple[int, int]:
        said.append(record.key)
        return 1, 0

    monkeypatch.setattr(one._node, "spread", spread)
    await one._healer.heal()
    assert said == []
    await one._healer.heal(jumped=True)
    assert said == [key_digest("k")]


async def test_the_healer_is_told_of_a_sleep(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = iter([True, False])
    heard: list[bool] = []

    async def night(seconds: float) -> bool:
        return next(nights, False) or await asyncio.sleep(0.01, result=False)

    async def heal(jumped: bool) -> None:
        heard.append(jumped)

    peer = await world.start(heal_period=60.0)
    monkeypatch.setattr(healing, "pause", night)
    monkeypatch.setattr(peer._healer, "heal", heal)
    healer = asyncio.create_task(peer._healer.forever())
    try:
        await eventually(lambda: len(heard) >= 2)
    finally:
        await end_tasks(healer)
    assert heard[:2] == [True, False]


async def test_addresses_that_change_are_told(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await world.start(heal_period=0.2)
    assert peer.addresses()[0].startswith("/ip4/127.0.0.1/")

    async def moved() -> list[str]:
        return ["/ip4/203.0.113.7/tcp/4001"]

    monkeypatch.setattr(peer._daemon, "transports", moved)
    await eventually(lambda: peer.addresses()[0].startswith("/ip4/203.0.113.7/tcp/4001/p2p/"))


async def test_an_unreachable_peer_is_in_nobodys_table_and_takes_part(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def think_nothing_of_it(self: ReachabilityKeeper) -> None:
        """Nobody is asked whether it can be reached: the client is told so below."""

    monkeypatch.setattr(ReachabilityKeeper, "look", think_nothing_of_it)
    one, two = await world.circle(2, heal_period=0.5)
    client = await world.start(bootstrap=one.addresses(), heal_period=60.0)
    await eventually(lambda: one.peers() == 2)
    client._host.hide(True)
    assert await client.store("k", b"from a client", soon())
    await eventually(lambda: one.peers() == two.peers() == 1)
    assert [entry.value for entry in await two.lookup("k")] == [b"from a client"]
    assert await one.store("others", b"value", soon())
    assert keys_held(client, ["others"]) == []
    assert [entry.value for entry in await client.lookup("others")] == [b"value"]
