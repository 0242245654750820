"""Which addresses we dial when strangers name them.

A presence record says where its author can be reached, in the author's own words. Whoever dials
what it says knocks at a door of the author's choice: a printer in our own network, a service of
this machine. What is told there is libp2p's first line and nothing else, and the answer reaches
nobody but us; still, doors that cannot be a peer's are not tried:

    global addresses           always
    private networks           where we are in the same one (10/8, 192.168/16, fc00::/7, ...)
    this machine (loopback)    where we live on it alone, or were told of a peer on it by the user
    names                      what they resolve to, under the same rules
    anything else              never

Addresses that the user gives are not asked about here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from paris_p2p.records.address import GLOBAL, LOOPBACK, Address, ip_of, scope_of

RESOLVING = 3.0
"""Seconds for a name."""

MOST_PER_NAME = 2
"""Addresses of one name that are tried."""

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""The IP addresses of a host name; none when there are none. Never raises."""


async def resolve(name: str) -> list[str]:
    """What the system says."""
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
    """Those of a stranger's addresses that we dial, names replaced by what they resolve to.

    Parameters
    ----------
    ours : transports that we listen at.
    given : transports of peers that the user told us of.
    """
    allowed = scopes(ours, given)
    literal = await asyncio.gather(*(_literal(address, resolve) for address in named))
    return [one for several in literal for one in several if _scope(one.transport) in allowed]


def scopes(ours: Iterable[str], given: Iterable[str]) -> set[str]:
    """Where we may dial: everywhere global, and in the networks that we are part of."""
    own = {scope for scope in map(_scope, ours) if scope}
    inner = own if own == {LOOPBACK} else own - {LOOPBACK}
    return {GLOBAL, *inner, *(scope for scope in map(_scope, given) if scope)}


def _scope(transport: str) -> str:
    """Who can dial a transport; "" for names and for what no peer has."""
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
