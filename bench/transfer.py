"""How fast content moves between processes: `python -m bench.transfer [--mebibytes N] [--json]`.

The same bytes move over loopback several times, in turn by each way. The raw stream is hivemind's
libp2p stream between the two processes that paris-p2p uses; its bytes are thrown away. Paris-p2p's
own transfer is verified and written to disk, from one and from three providers. libtorrent runs
with its defaults over TCP. aria2 fetches from a plain web server. All ratios come from the same
run, and every figure is the median of the repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT, rivals
from bench.provider import RAW_PROTOCOL, pieces, store_in, swarm_in
from paris_p2p import child
from paris_p2p.identity import author_of
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.p2pd.daemon import peer_id
from paris_p2p.peer.transfer.fetching import Fetcher
from paris_p2p.records.address import parse_address
from paris_p2p.records.manifest import MAX_SIZE

PROVIDERS = 3
GOALS = {"raw libp2p stream": 0.85, "libtorrent, TCP": 1.0, "aria2": 0.8}

Transfer = Callable[[Path], Awaitable[None]]
"""Moves all bytes into an empty folder."""


@dataclass(frozen=True)
class Provider:
    """A provider process: its address, and the content it serves."""

    address: str
    content: bytes

    @property
    def author(self) -> bytes:
        return author_of(parse_address(self.address).peer_id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="paris-bench-") as folder:
        speeds, skipped = asyncio.run(
            measure(Path(folder), options.mebibytes << 20, options.repeats)
        )
    report = report_of(speeds, skipped)
    print(json.dumps(report) if options.json else as_text(report))


async def measure(
    folder: Path, size: int, repeats: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """MiB/s of every transfer in every repeat, and the reasons why some were left out."""
    skipped: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        transfers = await ours(stack, folder, size)
        file = made_file(folder, size)
        for name, rival in (("libtorrent, TCP", rivals.torrent), ("aria2", rivals.aria2)):
            try:
                fetch = stack.enter_context(rival(file))
            except rivals.Missing as error:
                skipped[name] = str(error)
            else:
                transfers[name] = in_thread(fetch)
        speeds: dict[str, list[float]] = {name: [] for name in transfers}
        for _ in range(repeats):
            for name, transfer in transfers.items():
                speeds[name].append(size / 2**20 / await seconds(folder, transfer))
    return speeds, skipped


async def ours(stack: AsyncExitStack, folder: Path, size: int) -> dict[str, Transfer]:
    """The raw stream, and our transfers from one and from three providers."""
    near = [await stack.enter_async_context(provider(folder / "near", size, ()))]
    crowd: list[Provider] = []
    for number in range(PROVIDERS):
        doors = tuple(member.address for member in crowd[:1])
        place = folder / f"crowd-{number}"
        crowd.append(await stack.enter_async_context(provider(place, size, doors)))
    one, _ = await stack.enter_async_context(swarm_in(made(folder / "one"), doors_of(near)))
    many, _ = await stack.enter_async_context(swarm_in(made(folder / "many"), doors_of(crowd)))
    return {
        "raw libp2p stream": lambda place: receive_raw(one, near[0].author, size),
        "ours, 1 provider": lambda place: fetch(one, near[0].content, place),
        f"ours, {PROVIDERS} providers": lambda place: fetch(many, crowd[0].content, place),
    }


async def receive_raw(swarm: HivemindSwarm, author: bytes, size: int) -> None:
    """All bytes through hivemind's streams, unframed and unverified, then thrown away."""
    p2p = swarm._daemon.p2p
    _, reader, writer = await p2p.call_binary_stream_handler(peer_id(author), RAW_PROTOCOL)
    left = size
    while left:
        left -= len(await reader.read(1 << 20))
    writer.close()


async def fetch(swarm: HivemindSwarm, content: bytes, folder: Path) -> None:
    """A peer's fetch: look up providers, fetch, verify, store."""
    blobs = store_in(folder)
    await Fetcher(swarm, blobs).fetch(content, most=MAX_SIZE)


async def seconds(folder: Path, transfer: Transfer) -> float:
    place = made(folder / "taken")
    began = time.perf_counter()
    await transfer(place)
    took = time.perf_counter() - began
    shutil.rmtree(place)
    return took


@asynccontextmanager
async def provider(folder: Path, size: int, doors: Sequence[str]) -> AsyncIterator[Provider]:
    """A provider process of its own, joined through `doors`."""
    process = await asyncio.create_subprocess_exec(
        *child.command("bench.provider", str(made(folder)), str(size >> 20), *doors),
        env=child.environment(ROOT),
        stdin=PIPE,
        stdout=PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        ready = json.loads(await process.stdout.readline())
        yield Provider(ready["address"], bytes.fromhex(ready["content"]))
    finally:
        process.stdin.close()
        await process.wait()


def doors_of(providers: Sequence[Provider]) -> tuple[str, ...]:
    return tuple(member.address for member in providers)


def in_thread(fetch: rivals.Fetch) -> Transfer:
    return lambda place: asyncio.to_thread(fetch, place)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def made_file(folder: Path, size: int) -> Path:
    """The same bytes as one plain file."""
    file = made(folder / "plain") / "bench"
    with file.open("wb") as whole:
        whole.writelines(pieces(size))
    return file


def report_of(speeds: dict[str, list[float]], skipped: dict[str, str]) -> dict[str, object]:
    """Medians in MiB/s, ratios of our transfer to each other one, and what was left out."""
    medians = {name: statistics.median(figures) for name, figures in speeds.items()}
    mine = medians["ours, 1 provider"]
    return {
        "mebibytes_per_second": medians,
        "spread": {name: (min(figures), max(figures)) for name, figures in speeds.items()},
        "ours_to": {name: mine / medians[name] for name in GOALS if name in medians},
        "goals": GOALS,
        "three_to_one": medians[f"ours, {PROVIDERS} providers"] / mine,
        "web_server": rivals.web_server_name(),
        "cores": os.cpu_count(),
        "skipped": skipped,
    }


def as_text(report: dict[str, object]) -> str:
    speeds, spread = report["mebibytes_per_second"], report["spread"]
    ratios, skipped = report["ours_to"], report["skipped"]
    assert isinstance(speeds, dict) and isinstance(spread, dict)
    assert isinstance(ratios, dict) and isinstance(skipped, dict)
    lines = []
    for name, speed in speeds.items():
        low, high = spread[name]
        against = f"   ours {ratios[name]:.2f} of it, goal {GOALS[name]}" if name in ratios else ""
        lines.append(f"{name:20} {speed:6.0f} MiB/s  ({low:.0f} to {high:.0f}){against}")
    lines.append(f"three providers against one: {report['three_to_one']:.2f}")
    lines += [f"{name:20} left out: {why}" for name, why in skipped.items()]
    lines.append(f"on {report['cores']} cores; aria2 fetches from {report['web_server']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
