"""Which relays are used: the named first, then strangers, never those that carry too little."""

from __future__ import annotations

import random

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.identity import Identity
from paris_p2p.network.reach.relay_reservation import RelayLimit
from paris_p2p.network.reach.relays import LEAST_BYTES, TRIED, WANTED, Relays, circuit_through
from paris_p2p.records.address import Address, parse_address

pytestmark = pytest.mark.asyncio

PLENTY = RelayLimit(1800, 4 << 30)


def relay(number: int) -> Address:
    identity = Identity(bytes([number]) * 32)
    return Address(f"/ip4/203.0.113.{number}/tcp/4001", identity.peer_id)


class World:
    """Relays, what each grants, and who was asked."""

    def __init__(self) -> None:
        self.limits: dict[Address, RelayLimit] = {}
        self.asked: list[Address] = []

    async def reserve(self, relay: Address) -> RelayLimit:
        self.asked.append(relay)
        if relay not in self.limits:
            raise Unreachable("nobody there")
        return self.limits[relay]


async def keep(relays: Relays, *neighbours: Address) -> tuple[Address, ...]:
    await relays.keep(neighbours, random.Random(1))
    return relays.in_use()


async def test_two_neighbours_are_enough() -> None:
    world = World()
    neighbours = [relay(number) for number in range(1, 6)]
    world.limits = dict.fromkeys(neighbours, PLENTY)
    assert len(await keep(Relays([], world.reserve), *neighbours)) == WANTED
    assert len(world.asked) == WANTED


async def test_places_are_prolonged_and_lost_ones_replaced() -> None:
    world = World()
    one, two, three = relay(1), relay(2), relay(3)
    world.limits = {one: PLENTY, two: PLENTY}
    relays = Relays([], world.reserve)
    assert set(await keep(relays, one, two)) == {one, two}
    del world.limits[one]
    world.limits[three] = PLENTY
    assert await keep(relays, one, two, three) == (two, three)
    world.asked.clear()
    assert await keep(relays, one, two, three) == (two, three)
    assert world.asked == [two, three]


async def test_the_named_come_first_and_all_of_them() -> None:
    world = World()
    named = [relay(number) for number in (7, 8, 9)]
    world.limits = dict.fromkeys([*named, relay(1)], PLENTY)
    assert set(await keep(Relays(named, world.reserve), relay(1))) == set(named)
    del world.limits[relay(8)], world.limits[relay(9)]
    assert await keep(Relays(named, world.reserve), relay(1)) == (relay(7), relay(1))


@pytest.mark.parametrize(
    ("carried", "used"),
    [(131_072, False), (LEAST_BYTES - 1, False), (LEAST_BYTES, True), (0, True)],
)
async def test_a_relay_that_carries_too_little_is_no_use(carried: int, used: bool) -> None:
    world = World()
    world.limits = {relay(1): RelayLimit(120, carried)}
    assert bool(await keep(Relays([], world.reserve), relay(1))) == used


async def test_a_round_asks_a_few_only() -> None:
    world = World()
    assert await keep(Relays([], world.reserve), *(relay(n) for n in range(1, 100))) == ()
    assert len(world.asked) == TRIED


async def test_the_address_over_a_relay() -> None:
    peer = Identity(bytes(range(32))).peer_id
    address = parse_address(circuit_through(relay(1), peer))
    assert (address.relay, address.peer_id) == (relay(1), peer)
