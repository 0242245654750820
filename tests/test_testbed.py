"""The test bed: a peer behind a router is fetched from behind another one; the far link is far."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from peers.testbed.__main__ import RELAYS, short
from peers.testbed.networks import networks, why_none
from peers.testbed.slow_link import relay


@pytest.fixture(scope="module")
def permitted() -> None:
    if reason := why_none():
        pytest.skip(reason)


def test_nothing_of_the_networks_is_left(permitted: None) -> None:
    with networks() as nets:
        nets.public("one")
        nets.behind_router("two")
        assert len(nets.namespaces) == 4
    with networks() as again:
        again.public("one")


def test_two_peers_behind_routers_reach_each_other_over_the_only_relay(permitted: None) -> None:
    [row] = short(relays=1)
    assert (row.target, row.way, row.note[:7]) == ("seed", "relayed", "private"), row
    assert row.mib_per_s > 0


def test_two_peers_behind_routers_reach_each_other_straight_through_both(permitted: None) -> None:
    [row] = short(relays=RELAYS)
    assert (row.target, row.way, row.note[:7]) == ("seed", "direct", "private"), row
    assert row.mib_per_s > 0


@pytest.mark.asyncio
@pytest.mark.parametrize(("delay", "loss"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.5)])
async def test_a_slow_link_carries_everything_late(delay: float, loss: float) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = await relay(("127.0.0.1", 0), server.sockets[0].getsockname(), delay, loss)
    reader, writer = await asyncio.open_connection(*link.sockets[0].getsockname())
    sent = random.Random(1).randbytes(20_000)
    began = time.monotonic()
    writer.write(sent)
    assert await asyncio.wait_for(reader.readexactly(len(sent)), 60) == sent
    assert time.monotonic() - began >= 2 * delay
    writer.close()
    assert await asyncio.wait_for(reader.read(), 60) == b""
    for one in (link, server):
        one.close()
