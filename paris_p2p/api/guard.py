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

from paris_p2p.api.events import unexpected
from paris_p2p.errors import ParisError, error_event

WRONG_TOKEN = {"message": "missing or wrong token"}
SHUT_OUT = {"connection": "close"}


def guarded(routes: Sequence[Route], token: str) -> Starlette:
    """The application of these routes; errors of theirs become error events with status 400.

    Those that are none of ours have status 500. Who has no token learns nothing else, and is left
    no connection.
    """

    async def authorise(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return JSONResponse(WRONG_TOKEN, status_code=401, headers=SHUT_OUT)
        return await call_next(request)

    return Starlette(
        routes=routes,
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=authorise),
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        ],
        exception_handlers={ParisError: _problem, Exception: _surprise},
    )


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ParisError)
    return JSONResponse(error_event(error), status_code=400)


async def _surprise(request: Request, error: Exception) -> Response:
    """Answered here; the server raises it again, and logs it with its traceback."""
    return JSONResponse(error_event(unexpected(error)), status_code=500)
