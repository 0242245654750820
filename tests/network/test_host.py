"""p2pd dies while it is being replaced, modes change meanwhile, and we leave at any moment."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paris_p2p.errors import ParisError
from paris_p2p.network import host as host_module
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.p2pd.daemon import Daemon
from paris_p2p.network.p2pd.listening import ListenConfig
from paris_p2p.network.p2pd.process import Mode
from paris_p2p.network.stream_permits import StreamPermits
from paris_p2p.network.swarm import Stream, StreamClosed
from paris_p2p.network.tasks import end_tasks
from tests.network.test_hivemind_swarm import running, socket_folders
from tests.network.worlds import LibP2PWorld, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.process]


@pytest.fixture
async def world() -> AsyncIterator[LibP2PWorld]:
    async with LibP2PWorld() as world:
        yield world


async def until_down(peer: HivemindSwarm) -> None:
    """Kill p2pd, and wait until that has been noticed."""
    os.kill(peer.p2pd_pid, signal.SIGKILL)
    await eventually(lambda: not peer._host.ready.is_set())


async def test_a_p2pd_that_dies_while_we_rejoin_is_replaced_too(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saying everything again takes minutes where much was said."""
    monkeypatch.setattr(host_module, "REJOIN_PATIENCE", 0.1)
    peer = await world.start()
    await end_tasks(*peer._keepers)
    supervising = asyncio.create_task(peer._host.supervise(asyncio.Event().wait))
    try:
        for _ in range(2):
            dead = peer.p2pd_pid
            await until_down(peer)
            await eventually(lambda: peer._host.ready.is_set() and running(peer.p2pd_pid))
            assert peer.p2pd_pid != dead
    finally:
        await end_tasks(supervising)


@pytest.mark.parametrize(
    "failure", [OSError(errno.EMFILE, "Too many open files"), ValueError("a bug"), ParisError("no")]
)
async def test_p2pd_is_started_again_whatever_fails_meanwhile(
    world: LibP2PWorld, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(host_module, "REBUILD_PAUSES", (0.0, 0.01))
    failures = iter([failure] * 4)
    start, stop = Daemon.start, Daemon.stop

    async def start_at_last(place: ListenConfig, mode: Mode) -> Daemon:
        if (error := next(failures, None)) is not None:
            raise error
        return await start(place, mode)

    async def stop_or_not(daemon: Daemon) -> None:
        await stop(daemon)
        if (error := next(failures, None)) is not None:
            raise error

    peer = await world.start()
    monkeypatch.setattr(Daemon, "start", start_at_last)
    monkeypatch.setattr(Daemon, "stop", stop_or_not)
    dead = peer.p2pd_pid
    await until_down(peer)
    await eventually(lambda: peer._host.ready.is_set() and running(peer.p2pd_pid))
    assert peer.p2pd_pid != dead


async def test_a_peer_that_no_longer_hears_of_streams_is_built_again(world: LibP2PWorld) -> None:
    peer = await world.start()
    deaf = peer.p2pd_pid
    peer._daemon.p2p._listen_task.cancel()
    await eventually(lambda: peer._host.ready.is_set() and peer.p2pd_pid != deaf)


async def test_a_mode_that_is_wanted_during_a_rebuild_is_had(world: LibP2PWorld) -> None:
    peer = await world.start()
    assert peer._host.mode is Mode.PLAIN
    await until_down(peer)
    peer._host.switch(Mode.RELAY)
    await eventually(peer._host.ready.is_set)
    arguments = Path(f"/proc/{peer.p2pd_pid}/cmdline").read_text()
    assert "forceReachabilityPublic" in arguments


@pytest.mark.parametrize("restarts", [1, 3])
async def test_a_protocol_that_is_served_while_p2pd_restarts_is_taken_up(
    world: LibP2PWorld, restarts: int
) -> None:
    one = await world.start()

    async def greet(author: bytes, stream: Stream) -> None:
        await stream.write(b"hello")

    for number in range(restarts):
        one._host.restart()
        await one.serve(f"/paris/greet/{number}", greet)
    await one._host.until_ready()
    two = await world.start()
    for number in range(restarts):
        stream = await two.open(one.author, f"/paris/greet/{number}", one.addresses())
        assert await stream.read_exactly(5) == b"hello"
        await stream.close()


async def test_leaving_during_a_rebuild_leaves_nothing(world: LibP2PWorld) -> None:
    before = socket_folders()
    peer = await world.start()
    first = peer.p2pd_pid
    (folder,) = socket_folders() - before
    await until_down(peer)
    await eventually(lambda: bool(socket_folders() - before - {folder}))
    await peer.close()
    assert socket_folders() <= before
    assert not running(first)
    assert not running(peer.p2pd_pid)


async def test_leaving_that_is_broken_off_goes_on(world: LibP2PWorld) -> None:
    peer = await world.start()
    pid = peer.p2pd_pid
    leaving = asyncio.create_task(peer.close())
    await asyncio.sleep(0)
    await end_tasks(leaving)
    await peer.close()
    assert not running(pid)


async def test_whom_we_serve_is_not_served_after_we_left(world: LibP2PWorld) -> None:
    """A handler that waits for something else than its stream does not outlive us."""
    one, two = await world.circle(2)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def serve(author: bytes, stream: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await one.serve("/paris/wait/1", serve)
    stream = await two.open(one.author, "/paris/wait/1", one.addresses())
    await eventually(begun.is_set)
    await one.close()
    assert ended.is_set()
    await stream.close()


async def test_who_takes_all_places_keeps_nobody_out(world: LibP2PWorld) -> None:
    one, greedy, modest = await world.circle(3)
    one._host._permits = StreamPermits(4, 4, one.network_of)

    async def greet_and_stay(author: bytes, stream: Stream) -> None:
        await stream.write(b"hello")
        await stream.read_exactly(1)

    await one.serve("/paris/stay/1", greet_and_stay)
    streams = []
    for peer in (greedy, greedy, greedy, greedy, modest):
        streams.append(await peer.open(one.author, "/paris/stay/1", one.addresses()))
        assert await streams[-1].read_exactly(5) == b"hello"
    with pytest.raises(StreamClosed):
        await streams[-2].read_exactly(1)
    for stream in streams:
        await stream.close()
