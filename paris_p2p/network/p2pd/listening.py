"""Where we listen, and which of our addresses to announce."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from paris_p2p.errors import BadContent, ParisError, PortInUse, UsageProblem
from paris_p2p.identity import Identity
from paris_p2p.records.address import (
    GLOBAL,
    LOOPBACK,
    IpAddress,
    ip_of,
    parse_transport,
    scope_of,
)

MAX_ADDRESSES = 8
"""Own addresses announced to others."""


@dataclass(frozen=True)
class ListenConfig:
    """Who we are and where we listen: what p2pd needs to come back as the same peer."""

    identity_file: Path
    identity: Identity
    listen: str
    port: int
    announce: tuple[str, ...]
    """Transports to announce instead of those found; () for those found."""
    inactivity: float
    upnp: bool = False

    @property
    def transport(self) -> str:
        """Where p2pd listens."""
        return transport_of(self.listen, self.port)


def choose_port(listen: str, port: int) -> int:
    """`port` if it is free, or any free one for 0. Raises `PortInUse` or `UsageProblem`.

    The kernel is asked, because p2pd shares a taken port with its owner without complaint.
    """
    try:
        version = ipaddress.ip_address(listen).version
    except ValueError as error:
        raise UsageProblem(f"{listen!r} is not an IP address to listen on") from error
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as error:
            raise _why_not_bound(error, listen, port) from error
        return int(probe.getsockname()[1])


def transport_of(listen: str, port: int) -> str:
    """The multiaddr of an IP address and TCP port."""
    return f"/ip{ipaddress.ip_address(listen).version}/{listen}/tcp/{port}"


def _why_not_bound(error: OSError, listen: str, port: int) -> ParisError:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(
            f"port {port} is in use by another program", "Choose another --port, or stop it"
        )
    return UsageProblem(f"cannot listen on {listen} port {port}: {error.strerror}")


def announced_transport(text: str, peer_id: str) -> str:
    """The transport a user wants announced, without our peer id. Raises `UsageProblem`."""
    try:
        return parse_transport(text.removesuffix("/p2p/" + peer_id))
    except BadContent as error:
        raise UsageProblem(f"cannot announce this: {error.message}", error.remedy) from error


def tellable(transports: Iterable[str]) -> list[str]:
    """Transports to announce: well-formed, specific, loopback ones last."""
    good = []
    for transport in dict.fromkeys(transports):
        with suppress(BadContent):
            good.append(parse_transport(transport))
    specific = [transport for transport in good if not _is_unspecific(transport)]
    return sorted(specific, key=is_loopback)[:MAX_ADDRESSES]


def dialable_from_here(transport: str) -> bool:
    """Whether a peer that cannot be dialled from outside should announce this for its LAN."""
    return scope_of(ip_of(transport)) not in ("", GLOBAL, LOOPBACK)


def _is_unspecific(transport: str) -> bool:
    """Whether the host stands for any machine (0.0.0.0) or several (multicast)."""
    host = ip_of(transport)
    return host is not None and (host.is_unspecified or host.is_multicast)


def is_ours(host: IpAddress) -> bool:
    """Whether one of this machine's interfaces has this address: only then it can be bound."""
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(host), 0))
        except OSError:
            return False
    return True


def is_loopback(transport: str) -> bool:
    """Whether only this machine can dial it."""
    return scope_of(ip_of(transport)) == LOOPBACK or transport.split("/")[2] == "localhost"
