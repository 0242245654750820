"""Many real peers on one machine: join, store and lookup; publish until seen; idle cost.

    python -m bench.swarm --peers 64
    python -m bench.swarm --peers 16 --stock      # hivemind's own DHT node beside ours

Every peer is a process with its own p2pd. The DHT figures are compared with hivemind's stock
`DHTNode` with the same number of replicas, in a swarm of its own in the same run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from bench import ROOT, dht_peer
from paris_p2p import child
from peers.local_swarm import COMMAND, LocalSwarm, local_swarm

KEYS = 200
IDLE_SECONDS = 60.0
PUBLISHED = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="DHT latencies among many real peers")
    parser.add_argument("--peers", type=int, default=64)
    parser.add_argument("--stock", action="store_true", help="measure hivemind's stock node too")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {"peers": chosen.peers, "ours": dht_figures("ours", chosen.peers)}
    if chosen.stock:
        figures["stock"] = dht_figures("stock", chosen.peers)
    with tempfile.TemporaryDirectory() as folder, local_swarm(Path(folder)) as swarm:
        figures["publish"] = publish_figures(swarm)
        figures["idle"] = idle_figures(swarm)
    print(json.dumps(figures) if chosen.json else told(figures))


def dht_figures(kind: str, peers: int) -> dict[str, float]:
    """Milliseconds to join, store and look up in a swarm of `peers` processes of this kind."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        swarm = [_Peer(kind, Path(folder) / str(number)) for number in range(peers)]
        try:
            first = swarm[0].ask("join", [])
            door = first["result"]
            joins = [peer.ask("join", [door])["seconds"] for peer in swarm[1:]]
            writers = [(rng.choice(swarm), f"key-{number}") for number in range(KEYS)]
            stores = [peer.ask("store", [key])["seconds"] for peer, key in writers]
            lookups = [rng.choice(swarm).ask("lookup", [key]) for _, key in writers]
        finally:
            for peer in swarm:
                peer.close()
    return {
        "join_p50": quantile(joins, 0.5),
        "join_p99": quantile(joins, 0.99),
        "store_p50": quantile(stores, 0.5),
        "store_p99": quantile(stores, 0.99),
        "lookup_p50": quantile([answer["seconds"] for answer in lookups], 0.5),
        "lookup_p99": quantile([answer["seconds"] for answer in lookups], 0.99),
        "lost": sum(not answer["result"] for answer in lookups),
    }


def publish_figures(swarm: LocalSwarm) -> dict[str, float]:
    """Seconds from a trainer's checkpoint until another peer's `heads` name it."""
    swarm.start("author", (), "--seed-shipped-run")
    swarm.start("reader", [swarm.address("author")], "--no-seed-shipped-run")
    with dht_peer.api_of(swarm.home("reader")) as reader:
        seen = [_published_until_seen(swarm, reader) for _ in range(PUBLISHED)]
    return {"visible_p50": statistics.median(seen), "visible_max": max(seen)}


def _published_until_seen(swarm: LocalSwarm, reader: dht_peer.Reader) -> float:
    """Seconds from the last step's snapshot, when publishing begins, to the head in an answer.

    Another peer answers with a lookup in the DHT at that moment, not from its memory.
    """
    known = reader.newest_step(0)
    home = str(swarm.home("author"))
    claim = ("claim-expert", "--home", home, "--expert", "0", "--steps", "1", "--threads", "1")
    with subprocess.Popen([*COMMAND, *claim, "--json"], stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        next(line for line in job.stdout if json.loads(line)["event"] == "snapshot")
        began = time.monotonic()
        while reader.newest_step(0) <= known:
            time.sleep(0.02)
        seconds = time.monotonic() - began
        job.stdout.read()
    return seconds


def idle_figures(swarm: LocalSwarm) -> dict[str, float]:
    """Processor share and memory of an idle peer and, separately, of its p2pd."""
    peer = psutil.Process(swarm.peers["reader"].popen.pid)
    daemon = next(child for child in peer.children() if "p2pd" in child.name())
    for process in (peer, daemon):
        process.cpu_percent()
    time.sleep(IDLE_SECONDS)
    return {
        "peer_cpu_percent": peer.cpu_percent(),
        "p2pd_cpu_percent": daemon.cpu_percent(),
        "peer_rss_mib": peer.memory_info().rss / 2**20,
        "p2pd_rss_mib": daemon.memory_info().rss / 2**20,
    }


def told(figures: dict[str, Any]) -> str:
    lines = [f"{figures['peers']} peers, a process and a p2pd each; milliseconds"]
    for kind in ("ours", "stock"):
        for verb in ("join", "store", "lookup") if kind in figures else ():
            p50, p99 = (1e3 * figures[kind][f"{verb}_{q}"] for q in ("p50", "p99"))
            lines.append(f"  {kind:6} {verb:7} p50 {p50:7.1f}   p99 {p99:7.1f}")
    if "stock" in figures:
        for verb in ("join", "store", "lookup"):
            ratio = figures["ours"][f"{verb}_p50"] / figures["stock"][f"{verb}_p50"]
            lines.append(f"  ours / stock, {verb} p50: {ratio:.2f}")
    publish, idle = figures["publish"], figures["idle"]
    lines += [
        f"publish until another peer sees it: median {publish['visible_p50']:.2f} s, "
        f"longest of {PUBLISHED} {publish['visible_max']:.2f} s",
        f"idle for {IDLE_SECONDS:.0f} s: peer {idle['peer_cpu_percent']:.1f} % of a core, "
        f"{idle['peer_rss_mib']:.0f} MiB; p2pd {idle['p2pd_cpu_percent']:.1f} %, "
        f"{idle['p2pd_rss_mib']:.0f} MiB",
    ]
    return "\n".join(lines)


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Peer:
    """One `bench.dht_peer` process, which gets one request at a time."""

    def __init__(self, kind: str, folder: Path) -> None:
        command = child.command("bench.dht_peer", kind, str(folder))
        self._process = subprocess.Popen(
            command,
            env=child.environment(ROOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, verb: str, arguments: Sequence[str]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([verb, *arguments]), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


if __name__ == "__main__":
    main()
