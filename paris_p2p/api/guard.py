"""Who may speak to a local API: only what holds the home's token, and only over loopback."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from paris_p2p.api.events import error_event
from paris_p2p.errors import ParisError


def guarded(routes: Sequence[Route], token: str) -> Starlette:
    """The application of these routes; errors of theirs become error events with status 400."""

    async def authorise(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return JSONResponse({"message": "missing or wrong token"}, status_code=401)
        return await call_next(request)

    return Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
            Middleware(BaseHTTPMiddleware, dispatch=authorise),
        ],
        exception_handlers={ParisError: _problem},
    )


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ParisError)
    return JSONResponse(error_event(error), status_code=400)
