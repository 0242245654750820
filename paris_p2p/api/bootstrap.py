"""The local API of a bootstrap: enough for `paris-peer doctor`, else a clear error.

    GET  /v1/ping            {"runs": []} when the bootstrap is up
    GET  /v1/session         stays open while the bootstrap runs
    GET  /v1/checkup         like a peer's: see `server`
    else                     an error that says what this home is

Requests need the token, as with a peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from paris_p2p.api.events import SESSION_OPEN
from paris_p2p.api.guard import guarded
from paris_p2p.errors import UsageProblem
from paris_p2p.peer.bootstrap import Bootstrap
from paris_p2p.peer.doctor import machine_checks, machine_probes
from paris_p2p.peer.doctor.peer_checks import report
from paris_p2p.peer.doctor.peer_probes import swarm_checkup


class BootstrapApi:
    """The API of one bootstrap. `app` is the ASGI application; `close()` ends the sessions."""

    def __init__(self, bootstrap: Bootstrap, token: str) -> None:
        self._bootstrap = bootstrap
        self._closing = asyncio.Event()
        self.app = guarded(
            [
                Route("/v1/ping", self._ping),
                Route("/v1/session", self._session),
                Route("/v1/checkup", self._checkup),
                Route("/{path:path}", self._no_run, methods=["GET", "POST", "DELETE"]),
            ],
            token,
        )

    async def close(self) -> None:
        self._closing.set()

    async def _ping(self, request: Request) -> Response:
        return JSONResponse({"runs": []})

    async def _session(self, request: Request) -> Response:
        return StreamingResponse(self._open_session(), media_type="text/event-stream")

    async def _open_session(self) -> AsyncIterator[str]:
        yield f"{SESSION_OPEN}\n\n"
        await self._closing.wait()

    async def _checkup(self, request: Request) -> Response:
        node = self._bootstrap
        rows = await swarm_checkup(node.swarm, node.runs, node.rng)
        rows.append(machine_checks.files_row(machine_probes.open_files()))
        return JSONResponse(report(rows, training_bytes=None))

    async def _no_run(self, request: Request) -> Response:
        raise UsageProblem(
            f"a bootstrap runs on the home {self._bootstrap.home.path}: it takes part in no run",
            "give another --home; `paris-peer doctor` works here",
        )
