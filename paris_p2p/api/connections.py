"""Limits on the connections to a local API, in number and in time without a request.

The token is checked when a request arrives. Until then anybody on this machine may hold a
connection, and each takes one of this process's open files. An idle connection is closed after a
while, or at once when others want in, the oldest first. One that is being answered is never closed.
A request without the token is answered at once, and its connection closed (`guard`).
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 64
REQUEST_PATIENCE = 10.0
"""Seconds that a new connection has for its first request."""

BACKLOG = 64
"""Connections that the system queues for us."""


class Connection(H11Protocol):
    """One connection to the API."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._opened = self.loop.time()
        self._limit = self.loop.call_later(REQUEST_PATIENCE, self._let_go_unasked)
        idle = [one for one in self.connections if isinstance(one, Connection) and one.idle]
        if len(self.connections) > MOST_CONNECTIONS and idle:
            min(idle, key=lambda one: one._opened).let_go()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.cancel()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered on it."""
        return self.cycle is None or self.cycle.response_complete

    def let_go(self) -> None:
        self.connections.discard(self)
        self.transport.abort()

    def _let_go_unasked(self) -> None:
        if self.cycle is None:
            self.let_go()
