"""Where a peer can be dialled: the few forms of multiaddr that mean something here.

By IPv4, IPv6 or name, over TCP or QUIC; or over a relay that is dialled so:

    /ip4/203.0.113.7/tcp/31337/p2p/12D3Koo...
    /ip6/2001:db8::7/udp/31337/quic-v1/p2p/12D3Koo...
    /dns4/seed.example.org/tcp/31337/p2p/12D3Koo...
    /ip4/203.0.113.7/tcp/31337/p2p/12D3KooRELAY/p2p-circuit/p2p/12D3Koo...
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from paris_p2p.errors import BadContent
from paris_p2p.identity import PeerId, author_of

EXAMPLE = "/ip4/203.0.113.7/tcp/31337/p2p/12D3KooWDCFUamotkbPpoot6BMCdjp1kvHpVLixqTT8S6qzN44X5"
_LONGEST = 384
CIRCUIT = "/p2p-circuit"
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_ONE_MACHINE = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
"""What the standard library takes for public although it is for protocols, for documentation, or
carries an IPv4 address, which may be any."""

GLOBAL, LOOPBACK = "global", "loopback"
_PRIVATE = tuple(
    ipaddress.ip_network(block)
    for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)

_HOST_KINDS = ("ip4", "ip6", "dns", "dns4", "dns6")


@dataclass(frozen=True)
class Address:
    """A way to a peer, and which peer must answer there."""

    transport: str
    """The multiaddr up to the PeerID: host, protocol, port; for a relayed one up to CIRCUIT."""
    peer_id: PeerId

    @property
    def relay(self) -> Address | None:
        """Where the relay is dialled; None for a peer that is dialled itself."""
        way, circuit, _ = self.transport.partition(CIRCUIT)
        return parse_address(way) if circuit else None

    def __str__(self) -> str:
        return f"{self.transport}/p2p/{self.peer_id}"


def is_public(host: IpAddress) -> bool:
    """Whether this is one machine on the public internet, as far as the address tells.

    Of IPv6 only the global unicast block is: what else there is (IPv4-compatible, site-local,
    NAT64) leads into somebody's own network, or to this machine. One that is an IPv4 address in
    IPv6's clothes counts as that.
    """
    if isinstance(host, ipaddress.IPv6Address):
        if host.ipv4_mapped is not None:
            return is_public(host.ipv4_mapped)
        if host not in _GLOBAL_UNICAST:
            return False
    special = any(host in network for network in _NOT_ONE_MACHINE)
    return host.is_global and not (host.is_multicast or host.is_reserved or special)


def scope_of(host: IpAddress | None) -> str:
    """Who can dial a host: GLOBAL, LOOPBACK, or the private block it is in.

    "" for None, and for what no peer has: multicast, link-local, documentation, unspecified.
    """
    if host is None or host.is_multicast or host.is_unspecified:
        return ""
    if host.is_loopback:
        return LOOPBACK
    private = next((str(b) for b in _PRIVATE if b.version == host.version and host in b), "")
    return private or (GLOBAL if is_public(host) else "")


def ip_of(multiaddr: str) -> IpAddress | None:
    """The IP that a multiaddr of any form begins with; None for a name.

    An IPv4 address that is written as IPv6 is returned as IPv4.
    """
    match multiaddr.split("/"):
        case ["", "ip4" | "ip6", text, *_]:
            return _parse_ip(text)
    return None


def _parse_ip(text: str) -> IpAddress | None:
    try:
        host = ipaddress.ip_address(text)
    except ValueError:
        return None
    inner = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return inner or host


def tcp_endpoint(transport: str) -> tuple[str, int] | None:
    """Host and port of a TCP transport; None for QUIC. BadContent for what is no transport."""
    match parse_transport(transport).split("/"):
        case ["", _, host, "tcp", port]:
            return host, int(port)
    return None


def parse_address(text: str) -> Address:
    """A peer's full address. BadContent says which part is wrong and shows a right one."""
    transport, separator, peer_id = text.partition("/p2p/")
    _check_transport(text, transport)
    if not separator:
        raise _refusal(text, "it does not end in /p2p/ and a PeerID")
    relay, circuit, relayed = peer_id.partition(CIRCUIT + "/p2p/")
    _check_peer_id(text, relay)
    if not circuit:
        return Address(transport, peer_id)
    _check_peer_id(text, relayed)
    if relay == relayed:
        raise _refusal(text, "a peer is not its own relay")
    return Address(f"{transport}/p2p/{relay}{CIRCUIT}", relayed)


def parse_transport(text: str) -> str:
    """A direct address without PeerID, as a peer announces for itself. BadContent like above."""
    _check_transport(text, text)
    return text


def _check_transport(text: str, transport: str) -> None:
    if len(text) > _LONGEST:
        raise _refusal(text, f"it is longer than {_LONGEST} characters")
    match transport.split("/"):
        case ["", kind, host, "tcp", port] | ["", kind, host, "udp", port, "quic-v1"]:
            _check_host(text, kind, host)
            _check_port(text, port)
        case ["", _, *_]:
            raise _refusal(text, "after the host must come /tcp/PORT or /udp/PORT/quic-v1")
        case _:
            raise _refusal(text, "it does not begin with a slash")


def _check_peer_id(text: str, peer_id: str) -> None:
    try:
        author_of(peer_id)
    except BadContent as error:
        raise _refusal(text, error.message) from error


def _check_host(text: str, kind: str, host: str) -> None:
    if kind not in _HOST_KINDS:
        raise _refusal(text, f"{kind[:32]!r} is none of {', '.join(_HOST_KINDS)}")
    valid = {"ip4": _is_ip4, "ip6": _is_ip6}.get(kind, _is_host_name)
    if not valid(host):
        raise _refusal(text, f"{host[:64]!r} is no {kind} host")


def _check_port(text: str, port: str) -> None:
    plain = port.isascii() and port.isdecimal() and not port.startswith("0")
    if not plain or int(port[:6]) > 65535:
        raise _refusal(text, f"{port[:16]!r} is no port from 1 to 65535")


def _is_ip4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _is_ip6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return "%" not in host


def _is_host_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(map(_is_host_label, labels))


def _is_host_label(label: str) -> bool:
    spelled = label.replace("-", "")
    fits = 0 < len(label) <= 63 and not label.startswith("-") and not label.endswith("-")
    return fits and spelled.isascii() and spelled.isalnum()


def _refusal(text: str, reason: str) -> BadContent:
    shown = text if len(text) <= 128 else text[:125] + "..."
    return BadContent(
        f"{shown!r} is not a peer's address: {reason}", f"One looks like this: {EXAMPLE}"
    )
