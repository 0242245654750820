"""A TCP connection of our own that checks an address before libp2p dials it.

The listening side of libp2p speaks first. A connection that is accepted but stays silent leads to a
router or proxy that forwards to nobody.

libp2p remembers addresses that did not answer and refuses to dial them again, for 6 seconds at
first and for 5 minutes after some failures. A peer that is alone dials all known peers every few
seconds, and would find a peer that is back minutes late. So libp2p is not asked to dial an address
whose probe fails.
"""

from __future__ import annotations

import asyncio

from paris_p2p.records.address import tcp_endpoint


async def probe(transport: str, patience: float) -> None:
    """Return when a byte arrives from a TCP transport; at once for any other kind.

    Raises OSError or EOFError when none can, TimeoutError after `patience` seconds.
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
