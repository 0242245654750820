"""Which addresses we dial when strangers name them.

The author of a presence record chooses the addresses in it. They may lead to a printer in our own
network, or a service of this machine. We would send it only libp2p's first line, and the answer
reaches only us; still, addresses where no peer can be are not dialled:

    global addresses           always
    private networks           if we are in the same one (10/8, 192.168/16, fc00::/7, ...)
    this machine (loopback)    if we listen on nothing else, or the user named a peer on it
    names                      the addresses they resolve to, under the same rules
    anything else              never

Addresses that the user gives are always dialled.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from paris_p2p.records.address import GLOBAL, LOOPBACK, Address, ip_of, scope_of

RESOLVING = 3.0
"""Seconds to resolve a name."""

MOST_PER_NAME = 2
"""Addresses tried per name."""

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""The IP addresses of a host name; may be empty. Never raises."""


async def resolve(name: str) -> list[str]:
    """The system's answer."""
    try:
        async with asyncio.timeout(RESOLVING):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def worth_dialling(
    named: Iterable[Address], ours: Iterable[str], given: Iterable[str], resolve: Resolve = resolve
) -> list[Address]:
    """The addresses of a stranger that we dial, with names resolved.

    Parameters
    ----------
    ours : transports that we listen at.
    given : transports of peers that the user named.
    """
    allowed = scopes(ours, given)
    literal = await asyncio.gather(*(_literal(address, resolve) for address in named))
    return [one for several in literal for one in several if _scope(one.transport) in allowed]


def scopes(ours: Iterable[str], given: Iterable[str]) -> set[str]:
    """The scopes we may dial: global, and the networks that we are part of."""
    own = {scope for scope in map(_scope, ours) if scope}
    inner = own if own == {LOOPBACK} else own - {LOOPBACK}
    return {GLOBAL, *inner, *(scope for scope in map(_scope, given) if scope)}


def _scope(transport: str) -> str:
    """The scope in which a transport can be dialled; "" for names and addresses of no peer."""
    return scope_of(ip_of(transport))


async def _literal(address: Address, resolve: Resolve) -> list[Address]:
    _, kind, host, *rest = address.transport.split("/")
    if kind in ("ip4", "ip6"):
        return [address]
    wanted = {"dns4": (4,), "dns6": (6,)}.get(kind, (4, 6))
    hosts = [ipaddress.ip_address(found.partition("%")[0]) for found in await resolve(host)]
    fitting = [found for found in hosts if found.version in wanted][:MOST_PER_NAME]
    return [
        replace(address, transport="/".join(("", f"ip{found.version}", str(found), *rest)))
        for found in fitting
    ]
