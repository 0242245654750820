"""Is anybody there? One TCP connection of our own, before libp2p is sent to an address.

libp2p's side that listens speaks first. A connection that is accepted and says nothing is a router
or a proxy that forwards to nobody.

libp2p remembers addresses that did not answer and refuses to dial them again, for 6 seconds at
first and for 5 minutes after some failures. A peer that is alone dials everybody it knows every
few seconds: it would find who has come back minutes late. What has been probed in vain, libp2p
is not asked to dial, so it holds nothing against it.
"""

from __future__ import annotations

import asyncio

from paris_p2p.records.address import tcp_endpoint


async def probe(transport: str, patience: float) -> None:
    """Return when somebody speaks at a TCP transport; at once for any other kind.

    Raises OSError or EOFError when nobody does, TimeoutError after `patience` seconds.
    """
    endpoint = tcp_endpoint(transport)
    if endpoint is None:
        return
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection(*endpoint)
        try:
            await reader.readexactly(1)
        finally:
            writer.close()
