"""Memory of a bootstrap under load: `python -m bench.bootstrap [PEERS] [RECORDS]`.

Real peers, each with its own p2pd, join through one bootstrap and store RECORDS records of 1 KB in
all. The bootstrap's process and its p2pd are measured before and after.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from paris_p2p.identity import Identity
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from peers.local_swarm import local_swarm

PEERS, RECORDS = 32, 4000
AT_ONCE = 4
LIFE = 600.0
"""Seconds a record lives: longer than the whole measurement."""


def main() -> None:
    peers, records = [*map(int, sys.argv[1:]), *(PEERS, RECORDS)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder, local_swarm(Path(folder)) as swarm:
        process = swarm.start("bootstrap", (), "--bootstrap-only")
        idle = memory(process.popen.pid)
        taken = asyncio.run(load(Path(folder), swarm.address("bootstrap"), peers, records))
        loaded = memory(process.popen.pid)
    print(f"idle: python {idle[0]:.0f} MiB, p2pd {idle[1]:.0f} MiB")
    print(f"with {peers} peers and {taken} of {records} records stored:")
    print(f"      python {loaded[0]:.0f} MiB, p2pd {loaded[1]:.0f} MiB")


def memory(pid: int) -> tuple[float, float]:
    """Resident MiB of a peer process and of its p2pd."""
    process = psutil.Process(pid)
    children = sum(child.memory_info().rss for child in process.children(recursive=True))
    return process.memory_info().rss / 2**20, children / 2**20


async def load(folder: Path, door: str, peers: int, records: int) -> int:
    """Join through `door` and store records. Returns how many of the records were accepted."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def join(stack: AsyncExitStack) -> HivemindSwarm:
        identity = Identity.generate()
        file = folder / identity.peer_id
        identity.save(file)
        async with gate:
            swarm = await HivemindSwarm.start(file, identity, "127.0.0.1", bootstrap=(door,))
        stack.push_async_callback(swarm.close)
        return swarm

    async def say(swarm: HivemindSwarm, number: int) -> bool:
        async with gate:
            return await swarm.store(f"bench/{number}", bytes(1000), time.time() + LIFE)

    async with AsyncExitStack() as stack:
        swarms = await asyncio.gather(*(join(stack) for _ in range(peers)))
        said = (say(swarms[number % peers], number) for number in range(records))
        return sum(await asyncio.gather(*said))


if __name__ == "__main__":
    main()
