"""Attacks on the local API: any method, path, header and body, with and without the token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from paris_p2p.api.server import Api
from paris_p2p.peer.membership import Membership
from tests.peer.worlds import PeerWorld

from .mutate import LEAVES, Mutator
from .target import Target, on_loop

TOKEN = "secret"
SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "scheme": "http",
    "root_path": "",
    "query_string": b"",
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 2),
}
PATHS = (
    "/v1/ping",
    "/v1/status",
    "/v1/heads",
    "/v1/connect",
    "/v1/fetch",
    "/v1/jobs",
    "/v1/jobs/none",
    "/v1/jobs/none/events",
    "/v1/jobs/none/picture",
    "/v1/runs",
    "/v1/runs/none",
)
KEYS = ("address", "contents", "expert", "kind", "prompts", "run")
ODD_PATHS = ("/", "/v1/", "/v1/../v1/ping", "/v1/ping/", "/v2/ping", "//v1/ping", "/v1/%00")
BODIES: tuple[dict[str, Any], ...] = (
    {"address": "/ip4/127.0.0.1/tcp/1/p2p/12D3KooW"},
    {"contents": []},
    {"run": "zz" * 32},
    {"contents": ["zz" * 32]},
    {"kind": "training", "expert": 77},
    {"kind": "sampling", "prompts": [], "steps": 2, "guidance": 1.5, "top_k": None},
    {"kind": "training", "expert": "3", "max_steps": 1, "max_seconds": None, "threads": 1},
)


@contextmanager
def targets(loop: asyncio.AbstractEventLoop) -> Iterator[list[Target]]:
    with TemporaryDirectory(prefix="paris-fuzz-") as folder:
        peer = loop.run_until_complete(_peer_in(Path(folder)))
        caller = Caller(peer)
        yield [Target("local API", 10, on_loop(loop, caller.call))]
        loop.run_until_complete(caller.close())
        loop.run_until_complete(peer.swarm.close())


class Caller:
    """A program, or a web page, on the peer's own machine."""

    def __init__(self, peer: Membership) -> None:
        self._api = Api(peer.node, TOKEN)

    async def close(self) -> None:
        await self._api.close()

    async def call(self, mutator: Mutator) -> None:
        """Without the token nothing is answered; with it, never an internal error."""
        knows = mutator.rng.random() < 0.7
        headers = _headers(mutator, knows)
        method = mutator.rng.choice(("GET", "POST", "POST", "POST", "PUT", "DELETE", "X\r\n"))
        path = mutator.rng.choice((*PATHS * 3, *ODD_PATHS))
        status = await self._request(method, path, headers, _body(mutator))
        assert status < 500, (method, path, headers, status)
        if not knows:
            assert status in (400, 401), (method, path, headers, status)

    async def _request(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> int:
        """The status of the answer, straight from the application: no client tidies the request."""
        sent: list[dict[str, Any]] = []
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = SCOPE | {"method": method, "path": path, "headers": headers}
        await self._api.app(scope, receive, send)
        return int(sent[0]["status"])


def _headers(mutator: Mutator, knows: bool) -> list[tuple[bytes, bytes]]:
    wrong = mutator.bent(f"Bearer {TOKEN}".encode()).replace(b"secret", b"public")
    token = f"Bearer {TOKEN}".encode() if knows else wrong
    host = mutator.rng.choice((b"127.0.0.1", b"localhost", b"localhost:1") * 4 + (b"evil", b""))
    headers = [(b"host", host), (b"authorization", token)]
    if mutator.rng.random() < 0.3:
        lengths = (b"0", b"-1", b"1e9", b"99999999999999999999", b"\xb2", b"", mutator.garbage(20))
        headers.append((b"content-length", mutator.rng.choice(lengths)))
    if mutator.rng.random() < 0.2:
        headers.append((mutator.rng.choice((b"origin", b"x", b"cookie")), mutator.garbage(40)))
    return headers


def _body(mutator: Mutator) -> bytes:
    body = mutator.value(mutator.rng.choice(BODIES))
    if mutator.rng.random() < 0.3:
        body = {key: mutator.rng.choice(LEAVES) for key in KEYS}
    data = json.dumps(_jsonable(body)).encode()
    return mutator.rng.choice((data, data, mutator.bent(data), mutator.garbage(), b"[" * 2000))


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, list | tuple) else value


async def _peer_in(folder: Path) -> Membership:
    return await PeerWorld(folder).join()
