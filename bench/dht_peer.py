"""One peer of `bench.swarm`: reads [verb, argument] lines and answers with seconds taken."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.dht.hardening import REPLICAS
from paris_p2p.network.dht.light_hivemind import P2P, DHTNode
from paris_p2p.network.hivemind_swarm import HivemindSwarm

LIFE = 300.0
VALUE = b"x" * 256

Answer = dict[str, Any]


class Ours:
    """The DHT node of paris-p2p."""

    async def join(self, folder: Path, door: list[str]) -> str:
        identity = Identity.generate()
        identity.save(folder / "key")
        self._swarm = await HivemindSwarm.start(
            folder / "key", identity, listen="127.0.0.1", bootstrap=door, require_contact=True
        )
        return self._swarm.addresses()[0]

    async def store(self, key: str) -> bool:
        return await self._swarm.store(key, VALUE, time.time() + LIFE)

    async def lookup(self, key: str) -> bool:
        return bool(await self._swarm.lookup(key))

    async def leave(self) -> None:
        await self._swarm.close()


class Stock:
    """hivemind's stock DHT node, with the same number of replicas."""

    async def join(self, folder: Path, door: list[str]) -> str:
        self._p2p = await P2P.create(
            initial_peers=door or None,
            host_maddrs=["/ip4/127.0.0.1/tcp/0"],
            auto_nat=False,
            nat_port_map=False,
        )
        self._node = await DHTNode.create(
            p2p=self._p2p, initial_peers=door or None, num_replicas=REPLICAS
        )
        return str((await self._p2p.get_visible_maddrs())[0])

    async def store(self, key: str) -> bool:
        return bool(await self._node.store(key, VALUE, time.time() + LIFE))

    async def lookup(self, key: str) -> bool:
        return await self._node.get(key, latest=True) is not None

    async def leave(self) -> None:
        await self._node.shutdown()
        await self._p2p.shutdown()


async def serve(kind: str, folder: Path) -> None:
    """Answer on standard output until standard input ends."""
    peer = Ours() if kind == "ours" else Stock()
    folder.mkdir(parents=True)  # noqa: ASYNC240
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, *arguments = json.loads(line)
        print(json.dumps(await answer(peer, folder, verb, arguments)), flush=True)
    await peer.leave()


async def answer(peer: Ours | Stock, folder: Path, verb: str, arguments: list[str]) -> Answer:
    began = time.perf_counter()
    result: str | bool
    match verb:
        case "join":
            result = await peer.join(folder, arguments)
        case "store":
            result = await peer.store(arguments[0])
        case _:
            result = await peer.lookup(arguments[0])
    return {"seconds": time.perf_counter() - began, "result": result}


class Reader:
    """A running peer that reports the heads it sees."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def newest_step(self, slot: int) -> int:
        heads = self._http.get("/v1/heads", timeout=60).json()["heads"][str(slot)]
        return max((head["step"] for head in heads), default=-1)


@contextmanager
def api_of(home: Path) -> Iterator[Reader]:
    card = json.loads(Home(home).api_file.read_text())
    headers = {"authorization": f"Bearer {card['token']}"}
    with httpx.Client(base_url=card["url"], headers=headers) as http:
        yield Reader(http)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])))
