from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.errors import BadContent
from paris_p2p.identity import Identity
from paris_p2p.records.address import (
    EXAMPLE,
    ip_of,
    is_public,
    parse_address,
    parse_transport,
    scope_of,
    tcp_endpoint,
)

PEER = Identity(bytes(range(32))).peer_id

TRANSPORTS = [
    "/ip4/203.0.113.7/tcp/31337",
    "/ip4/203.0.113.7/udp/31337/quic-v1",
    "/ip6/2001:db8::7/tcp/1",
    "/dns4/seed.example.org/tcp/65535",
    "/dns6/seed.example.org./tcp/31337",
    "/dns/localhost/tcp/31337",
]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_address_is_a_transport_and_a_peer(transport: str) -> None:
    address = parse_address(f"{transport}/p2p/{PEER}")
    assert (address.transport, address.peer_id) == (transport, PEER)
    assert str(address) == f"{transport}/p2p/{PEER}"
    assert parse_transport(transport) == transport


RELAY = Identity(bytes(range(1, 33))).peer_id


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_address_over_a_relay_says_where_the_relay_is(transport: str) -> None:
    text = f"{transport}/p2p/{RELAY}/p2p-circuit/p2p/{PEER}"
    address = parse_address(text)
    assert str(address) == text
    assert address.peer_id == PEER
    assert str(address.relay) == f"{transport}/p2p/{RELAY}"
    assert address.relay is not None
    assert address.relay.relay is None


def test_the_example_shown_to_users_is_valid() -> None:
    assert str(parse_address(EXAMPLE)) == EXAMPLE


MALFORMED = {
    "": "does not begin with a slash",
    "203.0.113.7:31337": "does not begin with a slash",
    "/ip4/203.0.113.7/tcp/31337": "does not end in /p2p/",
    "/ip4/203.0.113.7/tcp/31337/p2p": "must come /tcp/PORT",
    f"/ip4/203.0.113.7/p2p/{PEER}": "must come /tcp/PORT",
    f"/ip4/203.0.113.7/udp/31337/p2p/{PEER}": "must come /tcp/PORT",
    f"/ip4/203.0.113.7/tcp/31337/ws/p2p/{PEER}": "must come /tcp/PORT",
    f"/ip4/203.0.113/tcp/31337/p2p/{PEER}": "no ip4 host",
    f"/ip4/seed.example.org/tcp/31337/p2p/{PEER}": "no ip4 host",
    f"/ip6/fe80::1%eth0/tcp/31337/p2p/{PEER}": "no ip6 host",
    f"/dns4/-seed.example.org/tcp/31337/p2p/{PEER}": "no dns4 host",
    f"/dns4//tcp/31337/p2p/{PEER}": "no dns4 host",
    f"/dns4/{'a' * 64}.org/tcp/31337/p2p/{PEER}": "no dns4 host",
    f"/http/seed.example.org/tcp/31337/p2p/{PEER}": "'http' is none of",
    f"/ip4/203.0.113.7/tcp/0/p2p/{PEER}": "no port",
    f"/ip4/203.0.113.7/tcp/65536/p2p/{PEER}": "no port",
    f"/ip4/203.0.113.7/tcp/{'9' * 99}/p2p/{PEER}": "no port",
    f"/ip4/203.0.113.7/tcp/http/p2p/{PEER}": "no port",
    f"/ip4/203.0.113.7/tcp/\u0663/p2p/{PEER}": "no port",
    "/ip4/203.0.113.7/tcp/31337/p2p/": "not an Ed25519 PeerID",
    "/ip4/203.0.113.7/tcp/31337/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N": "PeerID",
    f"/ip4/203.0.113.7/tcp/31337/p2p/{PEER[:-1]}": "not an Ed25519 PeerID",
    f"/ip4/203.0.113.7/tcp/31337/p2p/{PEER}/": "not an Ed25519 PeerID",
    f"/ip4/203.0.113.7/tcp/31337/p2p/{PEER}/p2p-circuit": "not an Ed25519 PeerID",
    f"/ip4/203.0.113.7/tcp/31337/p2p/{PEER}/p2p-circuit/p2p/{PEER}": "not its own relay",
    f"/ip4/203.0.113.7/tcp/31337/p2p/{RELAY}/p2p-circuit/p2p/": "not an Ed25519 PeerID",
    f"/ip4/203.0.113.7/tcp/31337/p2p/{RELAY}/p2p-circuit/tcp/1/p2p/{PEER}": "not an Ed25519",
    f"/ip4/203.0.113.7/tcp/31337/p2p-circuit/p2p/{PEER}": "must come /tcp/PORT",
    f"/p2p/{RELAY}/p2p-circuit/p2p/{PEER}": "does not begin",
    f"/ip4/203.0.113.7/tcp/31337/p2p/{RELAY}/p2p-circuit/p2p/{PEER}/p2p-circuit/p2p/{RELAY}": (
        "not an Ed25519 PeerID"
    ),
    f"/ip4/{'1' * 400}/tcp/31337/p2p/{PEER}": "longer than 384",
}


@pytest.mark.parametrize(("text", "reason"), MALFORMED.items())
def test_a_malformed_address_is_named_explained_and_shown_right(text: str, reason: str) -> None:
    with pytest.raises(BadContent) as refusal:
        parse_address(text)
    assert reason in refusal.value.message
    assert EXAMPLE in refusal.value.remedy
    assert "\n" not in str(refusal.value)


@given(
    st.text() | st.lists(st.sampled_from(["", "ip4", "1.2.3.4", "tcp", "1", "p2p"])).map("/".join)
)
def test_any_text_raises_nothing_but_bad_content(text: str) -> None:
    with pytest.raises(BadContent):
        parse_address(text)


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # where clouds tell machines their secrets
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",  # IPv4-compatible
    "fec0::1",  # site-local
    "ff0e::1",
    "100::1",
    "2001:db8::7",
    "3fff::1",
    "192.88.99.1",
    "240.0.0.1",
    "64:ff9b::7f00:1",  # 127.0.0.1 through a NAT64
    "2002:7f00:1::",  # 127.0.0.1 through 6to4
    "2001:0:7f00:1::",  # through Teredo
]


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_are_known_as_such(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2001:4860::1", "::ffff:1.1.1.1"]
)
def test_public_addresses_are_known_as_such(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("multiaddr", "ip", "scope"),
    [
        ("/ip4/8.8.8.8/tcp/1", "8.8.8.8", "global"),
        ("/ip6/::ffff:10.0.0.1/tcp/1", "10.0.0.1", "10.0.0.0/8"),
        ("/ip6/::ffff:127.0.0.1/udp/1/quic-v1", "127.0.0.1", "loopback"),
        ("/ip6/fe80::1/tcp/1", "fe80::1", ""),
        ("/ip4/203.0.113.7/tcp/1", "203.0.113.7", ""),
        ("/dns4/localhost/tcp/1", None, ""),
        ("/ip4/1.2.3/tcp/1", None, ""),
        ("", None, ""),
    ],
)
def test_the_ip_of_a_multiaddr_says_who_can_dial_it(
    multiaddr: str, ip: str | None, scope: str
) -> None:
    host = ip_of(multiaddr)
    assert host == (None if ip is None else ipaddress.ip_address(ip))
    assert scope_of(host) == scope


def test_only_a_tcp_transport_has_a_tcp_endpoint() -> None:
    assert tcp_endpoint("/dns4/seed.example.org/tcp/31337") == ("seed.example.org", 31337)
    assert tcp_endpoint("/ip4/203.0.113.7/udp/31337/quic-v1") is None
    with pytest.raises(BadContent, match="must come /tcp/PORT"):
        tcp_endpoint("/ip4/203.0.113.7/tcp/31337/ws")
