"""Listening: only addresses that can be dialled are told, to those who can dial them."""

from __future__ import annotations

import pytest

from paris_p2p.network.p2pd.listening import dialable_from_here, is_loopback, tellable


@pytest.mark.parametrize(
    ("host", "dialable"),
    [
        ("ip4/192.168.1.4", True),
        ("ip4/100.64.0.7", True),
        ("ip6/fd00::7", True),
        ("ip6/::ffff:192.168.1.4", True),
        ("ip4/8.8.8.8", False),
        ("ip4/127.0.0.1", False),
        ("ip6/::ffff:127.0.0.1", False),
        ("ip4/169.254.169.254", False),
        ("ip4/224.0.0.1", False),
        ("ip6/fec0::1", False),
        ("dns4/localhost", False),
    ],
)
def test_only_an_address_of_a_private_network_is_told_to_that_network(
    host: str, dialable: bool
) -> None:
    assert dialable_from_here(f"/{host}/tcp/31337") is dialable


@pytest.mark.parametrize(
    "host", ["ip4/0.0.0.0", "ip6/::", "ip6/0::0", "ip6/::ffff:0.0.0.0", "ip4/224.0.0.1"]
)
def test_an_address_that_is_not_one_machine_is_not_told(host: str) -> None:
    assert tellable([f"/{host}/tcp/31337"]) == []


@pytest.mark.parametrize("host", ["ip4/127.0.0.9", "ip6/::1", "ip6/0::1", "ip6/::ffff:127.0.0.1"])
def test_addresses_of_this_machine_alone_are_told_last(host: str) -> None:
    here, elsewhere = f"/{host}/tcp/31337", "/ip4/192.168.1.4/tcp/31337"
    assert is_loopback(here)
    assert tellable([here, elsewhere]) == [elsewhere, here]
