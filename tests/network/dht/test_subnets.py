"""Subnets: identities at one address share a network; p2pd is asked rarely."""

from __future__ import annotations

import asyncio
import random

import pytest

from paris_p2p.network.dht.subnets import LOOK_PERIOD, Subnets, network_in, taking_turns

A, B = b"a" * 32, b"b" * 32


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("/ip4/203.0.113.7/tcp/1", "/ip4/203.0.113.250/udp/2/quic-v1", True),
        ("/ip4/203.0.113.7/tcp/1", "/ip4/203.0.114.7/tcp/1", False),
        ("/ip4/203.0.113.7/tcp/1", "/ip6/::ffff:203.0.113.9/tcp/1", True),
        ("/ip6/2001:db8:1:2::3/tcp/1", "/ip6/2001:db8:1:ffff::9/tcp/1", True),
        ("/ip6/2001:db8:1::3/tcp/1", "/ip6/2001:db8:2::3/tcp/1", False),
        ("/ip4/203.0.113.7/tcp/1/p2p/12D3/p2p-circuit", "/ip4/203.0.113.8/tcp/9", True),
    ],
)
def test_what_counts_as_one_network(one: str, other: str, together: bool) -> None:
    assert (network_in(one) == network_in(other)) is together


@pytest.mark.parametrize("nowhere", ["", "/", "/dns4/x/tcp/1", "/ip4/1.2.3/tcp/1", "ip4/1.2.3.4"])
def test_what_has_no_ip_has_no_network(nowhere: str) -> None:
    assert network_in(nowhere) == ""


async def test_strangers_do_not_decide_how_often_p2pd_is_asked() -> None:
    now, looks = 0.0, 0
    connected = [(A, "/ip4/203.0.113.7/tcp/1")]

    async def connections() -> list[tuple[bytes, str]]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return connected

    subnets = Subnets(connections, lambda: now)
    found = await asyncio.gather(*(subnets.network_of(peer) for peer in (A, B) * 50))
    assert looks == 1 and set(found) == {"203.0.113.0/24", ""}
    connected.append((B, "/ip4/198.51.100.1/tcp/1"))
    assert await subnets.network_of(B) == ""
    now = LOOK_PERIOD
    assert await subnets.network_of(B) == "198.51.100.0/24"
    assert looks == 2


def test_many_identities_of_one_network_are_not_asked_more_often() -> None:
    crowd = [bytes([number]) * 32 for number in range(50)]
    others = {bytes([100 + number]) * 32: f"10.{number}.0.0/24" for number in range(3)}
    networks = dict.fromkeys(crowd, "203.0.113.0/24") | others
    chosen = taking_turns([*networks], networks, 4, random.Random(1))
    assert {networks[peer] for peer in chosen} == set(networks.values())
    assert len(taking_turns(crowd, networks, 7, random.Random(1))) == 7
    assert len(taking_turns(others, networks, 7, random.Random(1))) == 3
