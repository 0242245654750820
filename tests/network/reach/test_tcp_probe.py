"""A TCP probe finds absent peers without libp2p, which then dials only peers that are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.network.p2pd.listening import choose_port
from paris_p2p.network.reach.tcp_probe import probe
from tests.network.worlds import LibP2PWorld

pytestmark = [pytest.mark.asyncio, pytest.mark.process]


@pytest.fixture
async def world() -> AsyncIterator[LibP2PWorld]:
    async with LibP2PWorld() as world:
        yield world


@pytest.fixture
async def door() -> AsyncIterator[Callable[[bytes], Awaitable[str]]]:
    """Opens a door behind which these words are said; its transport."""
    servers = []

    async def open_door(words: bytes) -> str:
        def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(words)
            writer.close()

        servers.append(await asyncio.start_server(answer, "127.0.0.1", 0))
        return f"/ip4/127.0.0.1/tcp/{servers[-1].sockets[0].getsockname()[1]}"

    yield open_door
    for server in servers:
        server.close()


async def test_a_door_that_opens(door: Callable[[bytes], Awaitable[str]]) -> None:
    await probe(await door(b"/multistream/1.0.0"), 5)


async def test_a_door_that_opens_on_nobody(door: Callable[[bytes], Awaitable[str]]) -> None:
    with pytest.raises(EOFError):
        await probe(await door(b""), 5)


@pytest.mark.parametrize("kind", ["ip4/127.0.0.1", "dns4/localhost"])
async def test_a_door_that_stays_shut(kind: str) -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        await probe(f"/{kind}/tcp/{choose_port('127.0.0.1', 0)}", 5)


async def test_other_ways_are_libp2ps_to_try() -> None:
    await probe("/ip4/127.0.0.1/udp/1/quic-v1", 5)


async def test_a_peer_that_comes_back_is_dialled_at_once(world: LibP2PWorld) -> None:
    """libp2p by itself would refuse to for seconds, after so many failures for a minute."""
    first, seeker = await world.start(), await world.start()
    address = first.addresses()[0]
    await first.close()
    for _ in range(8):
        with pytest.raises(Unreachable):
            await seeker.connect(address)
    await world.start(identity=first._host.listen_config.identity, port=first.port)
    await seeker.connect(address)
    assert seeker.online()
