"""Asking one peer to dial us back, at our addresses and where it sees us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress

from paris_p2p.errors import ParisError, Unreachable
from paris_p2p.network.p2pd.listening import transport_of
from paris_p2p.network.reach.dial_back import MAX_ADDRESSES, DialBackAnswer, ask_dialback
from paris_p2p.network.swarm import Stream
from paris_p2p.records.address import ip_of

PATIENCE = 20.0
"""Seconds that the peer has for each of its two answers."""


async def dialled_back(
    open_stream: Callable[[], Awaitable[Stream]], transports: Sequence[str], port: int | None
) -> DialBackAnswer:
    """The peer's answer about `transports`, then about our `port` at further IPs where it sees us.

    Parameters
    ----------
    open_stream : opens a stream to the peer that speaks `DIALBACK_PROTOCOL`.
    port : None where our port at other IPs would prove nothing, as where the user named addresses.

    Raises ParisError when there is no first answer. Without a second, the first is all.
    """
    first = await _ask(open_stream, transports[:MAX_ADDRESSES])
    elsewhere = _elsewhere(first.seen, transports, port) if port is not None else []
    if elsewhere:
        with suppress(ParisError):
            second = await _ask(open_stream, elsewhere)
            return DialBackAnswer(first.seen, first.dials + second.dials)
    return first


async def _ask(
    open_stream: Callable[[], Awaitable[Stream]], transports: Sequence[str]
) -> DialBackAnswer:
    try:
        async with asyncio.timeout(PATIENCE):
            stream = await open_stream()
            try:
                return await ask_dialback(stream, transports)
            finally:
                await stream.close()
    except TimeoutError:
        raise Unreachable(f"no answer within {PATIENCE:.0f} s") from None


def _elsewhere(seen: Iterable[str], asked: Collection[str], port: int) -> list[str]:
    """Our port at the IPs where we are seen and that were not asked about."""
    known = set(map(ip_of, asked))
    hosts = {host for host in map(ip_of, seen) if host is not None and host not in known}
    return [transport_of(str(host), port) for host in hosts]
