"""Connections to a local API: bounded in number and patience, whoever opens them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from paris_p2p.api import connections, peer_process
from paris_p2p.api.events import SESSION_OPEN
from paris_p2p.api.server import Api
from paris_p2p.home import Home
from tests.peer.worlds import PeerWorld

pytestmark = pytest.mark.real_time

MOST = 8
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client, with the token, of an API that listens on a real port."""
    peer = await PeerWorld(folder / "world").join()
    home = Home(folder / "home")
    home.create()
    with peer_process._listening(0) as listener:
        async with peer_process._serving(
            home, peer.swarm, lambda token: Api(peer.node, token), listener
        ):
            card = json.loads(home.api_file.read_text())
            headers = {"authorization": f"Bearer {card['token']}"}
            async with httpx.AsyncClient(base_url=card["url"], headers=headers) as client:
                yield client


async def opened(client: httpx.AsyncClient, said: bytes = b"") -> Opened:
    stream = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    stream[1].write(said)
    return stream


async def ended(stream: Opened) -> None:
    """Return once the other side has closed it."""
    try:
        while await stream[0].read(1 << 16):
            pass
    except ConnectionError:
        pass
    stream[1].close()


async def test_hundreds_of_silent_connections_leave_the_holder_of_the_token_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", MOST)
    monkeypatch.setattr(connections, "REQUEST_PATIENCE", 1e6)
    async with served(tmp_path) as client, AsyncExitStack() as stack:
        session = await stack.enter_async_context(client.stream("GET", "/v1/session"))
        lines = session.aiter_lines()
        assert await anext(lines) == SESSION_OPEN

        silent = [await opened(client) for _ in range(300)]
        assert (await client.get("/v1/ping")).status_code == 200
        await asyncio.gather(*map(ended, silent[:-MOST]))

        assert await anext(lines) == "", "what is being answered is never let go"
        for _, writer in silent[-MOST:]:
            writer.close()


@pytest.mark.parametrize("said", [b"", b"GET /v1/ping HTTP/1.1\r\nHost: 127", b"\x00" * 9])
async def test_who_completes_no_request_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connections, "REQUEST_PATIENCE", 0.2)
    async with served(tmp_path) as client:
        await ended(await opened(client, said))


async def test_who_has_no_token_is_answered_once_and_let_go(tmp_path: Path) -> None:
    asked = b"POST /v1/fetch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n\r\nbody"
    async with served(tmp_path) as client:
        reader, writer = await opened(client, asked)
        assert b"401" in await reader.readline()
        await ended((reader, writer))


async def test_a_peer_tells_where_its_api_is_only_once_that_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, real = asyncio.Event(), uvicorn.Server.startup

    async def startup(server: uvicorn.Server, sockets: object = None) -> None:
        assert not Home(tmp_path / "home").api_file.exists()
        ready.set()
        await asyncio.sleep(0)
        assert not Home(tmp_path / "home").api_file.exists()
        await real(server, sockets)

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    async with served(tmp_path) as client:
        assert ready.is_set()
        assert (await client.get("/v1/ping")).status_code == 200


async def test_an_api_that_cannot_start_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def startup(server: uvicorn.Server, sockets: object = None) -> None:
        raise OSError("no more files")

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    with pytest.raises(OSError, match="no more files"):
        async with served(tmp_path):
            pass
