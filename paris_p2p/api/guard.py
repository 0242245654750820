"""Admits only requests that have the home's token and come over loopback."""

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
    """The application of these routes; a ParisError becomes an error event with status 400.

    Other errors have status 500. A request without the token gets status 401 and nothing else, and
    its connection is closed.
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
    """Answer an unexpected error. The server raises it again, and logs its traceback."""
    return JSONResponse(error_event(unexpected(error)), status_code=500)
