"""A relay that carries too little is started again, once it disturbs nobody, and not for ever."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import cast

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.network.host import Host
from paris_p2p.network.p2pd.listening import ListenConfig
from paris_p2p.network.p2pd.process import Mode
from paris_p2p.network.reach.relay_reservation import RelayLimit
from paris_p2p.network.reach.relay_self_test import RESTARTS, SelfTest, from_here, limit_of
from tests.network.worlds import LibP2PWorld, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.process]

LITTLE, PLENTY = RelayLimit(120, 128 << 10), RelayLimit(1800, 4 << 30)


class Relaying:
    """A host whose p2pd comes up with one limit after the other."""

    def __init__(self, *limits: RelayLimit) -> None:
        self.mode = Mode.RELAY
        self.listen_config = None
        self.limits = list(limits)
        self.daemon = object()
        self.measured = 0
        self.restarts = 0
        self.streams = False

    def busy(self) -> bool:
        return self.streams

    def restart(self) -> None:
        self.restarts += 1
        self.daemon = object()
        if len(self.limits) > 1:
            del self.limits[0]

    async def measure(self, place: ListenConfig) -> RelayLimit:
        self.measured += 1
        return self.limits[0]

    def test(self) -> SelfTest:
        return SelfTest(cast(Host, self), self.measure)


async def test_it_is_started_again_until_it_carries_enough() -> None:
    host = Relaying(LITTLE, LITTLE, PLENTY)
    test = host.test()
    for _ in range(6):
        await test.run()
    assert (host.restarts, host.measured) == (2, 3)


async def test_one_that_never_does_is_made_do_with(caplog: pytest.LogCaptureFixture) -> None:
    host = Relaying(LITTLE)
    test = host.test()
    for _ in range(2 * RESTARTS):
        await test.run()
    assert (host.restarts, host.measured) == (RESTARTS, RESTARTS + 1)
    assert "131072 bytes" in caplog.text


async def test_open_streams_are_not_broken_for_it() -> None:
    host = Relaying(LITTLE, PLENTY)
    host.streams = True
    test = host.test()
    await test.run()
    assert host.restarts == 0
    host.streams = False
    await test.run()
    assert host.restarts == 1


async def test_an_attempt_that_fails_is_made_again() -> None:
    host = Relaying(PLENTY)

    async def refused(place: ListenConfig) -> RelayLimit:
        host.measured += 1
        raise Unreachable("no place")

    test = SelfTest(cast(Host, host), refused)
    for _ in range(2):
        await test.run()
    assert (host.restarts, host.measured) == (0, 2)


async def test_who_relays_nobody_is_not_tested() -> None:
    host = Relaying(LITTLE)
    host.mode = Mode.PUNCH
    await host.test().run()
    assert host.measured == 0


async def test_a_running_relay_is_measured_from_this_machine() -> None:
    async with LibP2PWorld() as world:
        first = await world.start()
        place = first._host.listen_config
        await first.close()
        with pytest.raises(Unreachable):
            await limit_of(place)
        relay = await world.start(
            identity=place.identity, port=place.port, announce=(place.transport,)
        )
        measured: list[RelayLimit] = []

        async def answers() -> bool:
            with contextlib.suppress(Unreachable):  # until its relay service has come up
                measured.append(await limit_of(relay._host.listen_config))
            return bool(measured)

        await eventually(answers)
        assert measured[0].bytes > 0


@pytest.mark.parametrize(
    ("listen", "transport"),
    [
        ("0.0.0.0", "/ip4/127.0.0.1/tcp/9"),
        ("::", "/ip6/::1/tcp/9"),
        ("192.0.2.7", "/ip4/192.0.2.7/tcp/9"),
    ],
)
async def test_how_we_reach_ourselves(listen: str, transport: str) -> None:
    assert from_here(cast(ListenConfig, SimpleNamespace(listen=listen, port=9))) == transport
