"""The API of a bootstrap: a checkup, and a clear no to what needs a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from paris_p2p.api.bootstrap import BootstrapApi
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.peer.bootstrap import Bootstrap


@asynccontextmanager
async def calling(tmp_path: Path, token: str = "secret") -> AsyncIterator[httpx.AsyncClient]:
    identity = Identity.generate()
    swarm = MemoryNetwork().join(identity.author)
    api = BootstrapApi(Bootstrap(Home(tmp_path), identity, swarm, None), "secret")
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api.app), base_url="http://127.0.0.1", headers=headers
    ) as client:
        yield client


async def test_a_bootstrap_takes_part_in_no_run_and_never_trains(tmp_path: Path) -> None:
    async with calling(tmp_path) as client:
        assert (await client.get("/v1/ping")).json() == {"runs": []}
        report = (await client.get("/v1/checkup")).json()
    assert report["training_bytes"] is None
    assert {row["check"] for row in report["rows"]} >= {"peers", "clock", "open files"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/status"),
        ("GET", "/v1/heads"),
        ("POST", "/v1/jobs"),
        ("DELETE", "/v1/jobs/7"),
        ("GET", "/anything"),
    ],
)
async def test_what_needs_a_run_says_what_this_home_is(
    tmp_path: Path, method: str, path: str
) -> None:
    async with calling(tmp_path) as client:
        response = await client.request(method, path)
    assert response.status_code == 400
    assert "bootstrap" in response.json()["message"]
    assert response.json()["exit_code"] == 2


async def test_it_is_guarded_like_a_peers(tmp_path: Path) -> None:
    async with calling(tmp_path, token="wrong") as client:
        assert (await client.get("/v1/ping")).status_code == 401
