"""Dialling: a stranger's record does not make us knock at doors that cannot be a peer's."""

from __future__ import annotations

import pytest

from paris_p2p.identity import Identity
from paris_p2p.network.dht.dialling import resolve, worth_dialling
from paris_p2p.records.address import Address, parse_address

PEER = Identity(bytes(32)).peer_id
PUBLIC, LAN, HERE = "/ip4/8.8.8.8/tcp/1", "/ip4/192.168.1.9/tcp/1", "/ip4/127.0.0.1/tcp/22"
NAMES = {"seed.example.org": ["8.8.8.8", "2001:4860::1"], "inside.example.org": ["127.0.0.1"]}


async def known(name: str) -> list[str]:
    return NAMES.get(name, [])


async def dialled(named: str, ours: str, given: tuple[str, ...] = ()) -> list[str]:
    addresses = [parse_address(f"{named}/p2p/{PEER}")]
    found = await worth_dialling(addresses, [ours, "/ip4/127.0.0.1/tcp/9"], given, known)
    return [address.transport for address in found]


@pytest.mark.parametrize(
    ("named", "ours", "wanted"),
    [
        (PUBLIC, PUBLIC, True),
        (PUBLIC, LAN, True),
        (LAN, LAN, True),
        (LAN, PUBLIC, False),
        (LAN, "/ip4/10.0.0.5/tcp/1", False),
        ("/ip6/fd00::9/tcp/1", "/ip6/fd12::1/tcp/1", True),
        ("/ip6/fd00::9/tcp/1", LAN, False),
        (HERE, PUBLIC, False),
        (HERE, LAN, False),
        (HERE, HERE, True),
        ("/ip6/::ffff:127.0.0.1/tcp/22", PUBLIC, False),
        ("/ip6/::1/udp/1/quic-v1", LAN, False),
        ("/ip6/::127.0.0.1/tcp/22", PUBLIC, False),
        ("/ip6/fec0::1/tcp/22", PUBLIC, False),
        ("/ip4/0.0.0.0/tcp/1", PUBLIC, False),
        ("/ip4/224.0.0.1/tcp/1", PUBLIC, False),
        ("/ip4/169.254.169.254/tcp/80", PUBLIC, False),
        ("/ip4/169.254.169.254/tcp/80", "/ip4/169.254.1.1/tcp/1", False),
    ],
)
async def test_only_where_a_peer_can_be(named: str, ours: str, wanted: bool) -> None:
    assert await dialled(named, ours) == [named] * wanted


async def test_what_the_user_told_us_of_opens_its_network() -> None:
    assert await dialled(HERE, PUBLIC, given=("/ip4/127.0.0.1/tcp/5",)) == [HERE]
    assert await dialled(LAN, PUBLIC, given=("/ip4/192.168.7.1/tcp/5",)) == [LAN]


async def test_a_name_is_what_it_resolves_to() -> None:
    assert await dialled("/dns4/seed.example.org/tcp/1", LAN) == [PUBLIC]
    assert await dialled("/dns/seed.example.org/udp/1/quic-v1", LAN) == [
        "/ip4/8.8.8.8/udp/1/quic-v1",
        "/ip6/2001:4860::1/udp/1/quic-v1",
    ]
    assert await dialled("/dns4/inside.example.org/tcp/22", LAN) == []
    assert await dialled("/dns4/nowhere.example.org/tcp/1", LAN) == []


async def test_a_relay_is_judged_by_its_own_address() -> None:
    circuit = Address(f"{HERE}/p2p/{PEER}/p2p-circuit", PEER)
    assert await worth_dialling([circuit], [PUBLIC], [], known) == []


@pytest.mark.parametrize("name", ["localhost", "a" * 64 + ".example", "no-such-name.invalid"])
async def test_the_system_is_asked_and_never_fails(name: str) -> None:
    assert all(isinstance(address, str) for address in await resolve(name))
