"""One peer that joins, measures its connections to others, and leaves.

    python -m peers.testbed.probe BOOTSTRAP SETTLE TARGET [TARGET ...]

SETTLE is the number of seconds to wait before measuring, once the probe knows its reachability:
libp2p punches holes only after four peers at different addresses have told where they see it. A
target is the comma-separated addresses of a peer that serves the shipped run. The first JSON line
is about the probe itself. One line for each target follows: how it was reached ("direct",
"relayed", "none"), how many bytes came, and how fast.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from paris_p2p.errors import ParisError
from paris_p2p.identity import Identity, author_of
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkClient
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.reach.reachability_types import ReachState
from paris_p2p.peer.shipped_run import load_shipped_run
from paris_p2p.records.address import parse_address
from paris_p2p.records.manifest import CHUNK_SIZE, content_id

ROUNDS = 4
"""How many times the shipped content is fetched over one stream."""

STANDING_PATIENCE = 60.0
"""Most seconds that a probe waits to learn whether others can dial it."""


async def probe(bootstrap: str, settle: float, targets: list[str]) -> None:
    """Measure each target in turn and print the result."""
    chunks = await asyncio.to_thread(shipped_chunks)
    with tempfile.TemporaryDirectory(prefix="paris-probe-") as folder:
        key = Path(folder) / "key"
        identity = Identity.generate()
        identity.save(key)
        swarm = await HivemindSwarm.start(key, identity, bootstrap=[bootstrap])
        try:
            await until_standing(swarm)
            await asyncio.sleep(settle)
            reach = swarm.reachability()
            print(json.dumps({"state": reach.state, "nat": reach.nat}), flush=True)
            for target in targets:
                print(json.dumps(await measure(swarm, target.split(","), chunks)), flush=True)
        finally:
            await swarm.close()


async def until_standing(swarm: HivemindSwarm) -> None:
    """Wait until a peer knows whether others can dial it, or until the time is up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(STANDING_PATIENCE):
            while swarm.reachability().state is ReachState.UNKNOWN:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def measure(
    swarm: HivemindSwarm, addresses: list[str], chunks: list[bytes]
) -> dict[str, object]:
    """Fetch all chunks from one peer over one stream, several times."""
    author = author_of(parse_address(addresses[0]).peer_id)
    try:
        began = time.monotonic()
        stream = await swarm.open(author, CHUNK_PROTOCOL, addresses)
        opened = time.monotonic()
        way = await swarm.way_to(author)
        received = 0
        try:
            client = ChunkClient(stream)
            await client.request(chunks * ROUNDS)
            while client.pending:
                _, data = await client.receive()
                received += len(data or b"")
        finally:
            await stream.close()
    except ParisError as error:
        return {"way": "none", "reason": error.message, "bytes": 0}
    seconds = time.monotonic() - opened
    rate = received / (1 << 20) / seconds
    return {"way": way, "bytes": received, "mib_per_s": rate, "opened_in_s": opened - began}


def shipped_chunks() -> list[bytes]:
    """The ids of the shipped run's chunks, each once."""
    ids: dict[bytes, None] = {}
    for path, _ in load_shipped_run().content_files():
        data = path.read_bytes()
        for start in range(0, len(data), CHUNK_SIZE):
            ids[content_id(data[start : start + CHUNK_SIZE])] = None
    return list(ids)


if __name__ == "__main__":
    asyncio.run(probe(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
