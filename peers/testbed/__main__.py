"""A swarm across public hosts and routers, and the table of who reaches whom.

python -m peers.testbed           public relays, a far peer; three behind routers
python -m peers.testbed --short   relays, one peer behind a router, one probe behind another
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from paris_p2p import child
from peers import ROOT
from peers.local_swarm import COMMAND, Process, SwarmProblem
from peers.testbed.networks import Networks, NoNetworks, networks

PORT = 31337
DELAY_MS, LOSS_PERCENT = 40, 0.1
"""Delay and loss of the far host's link, each way."""

RELAYS = 6
"""libp2p punches holes once four peers at different addresses have told where they see it."""

PROBE_PATIENCE = 240.0
SETTLE = 8.0
"""Seconds until a new peer may punch holes."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """The measured connection from one host to another."""

    source: str
    target: str
    way: str
    mib_per_s: float
    opened_in_s: float
    note: str

    def __str__(self) -> str:
        rate = f"{self.mib_per_s:8.1f}" if self.mib_per_s else " " * 8
        way = f"{self.source:22} {self.target:22} {self.way:8}"
        return f"{way} {rate} {self.opened_in_s:8.2f}  {self.note}"


class Bed:
    """Networks with real peers on them."""

    def __init__(self, nets: Networks, folder: Path) -> None:
        self._nets = nets
        self._folder = folder
        self._processes = ExitStack()
        self.bootstrap = ""

    def __enter__(self) -> Bed:
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.close()

    def peer(self, host: str, *options: str) -> Process:
        """`paris-peer start` on a host, once it is ready; the first one is the bootstrap."""
        join = ["--bootstrap", self.bootstrap] if self.bootstrap else []
        words = ["start", "--home", str(self._folder / host), "--json", "--port", str(PORT)]
        errors = self._folder / f"{host}.err"
        with errors.open("w") as file:
            popen = subprocess.Popen(
                self._nets.command(host, *COMMAND, *words, *join, *options),
                env=child.environment(),
                stdout=subprocess.PIPE,
                stderr=file,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        process = Process(host, popen, errors)
        self._processes.callback(process.stop)
        ready = process.first("ready", patience=120)
        self.bootstrap = self.bootstrap or str(ready["addresses"][0])
        return process

    def slow_link(self, host: str, to: str) -> None:
        """Put a slow link in front of `to`, at `host`."""
        words = ["0.0.0.0", PORT, to, PORT, DELAY_MS, LOSS_PERCENT]
        command = child.command("peers.testbed.slow_link", *map(str, words))
        popen = subprocess.Popen(self._nets.command(host, *command), env=child.environment(ROOT))
        self._processes.callback(popen.wait)
        self._processes.callback(popen.kill)

    def relays(self, number: int) -> None:
        """Public peers that relay; the first is the bootstrap."""
        for name in (f"relay{n}" for n in range(1, number + 1)):
            ip = self._nets.public(name)
            self.peer(name, "--bootstrap-only", "--announce", f"/ip4/{ip}/tcp/{PORT}")

    def addresses(self, process: Process) -> str:
        """A peer's addresses, once it has found relays or needs none."""
        return ",".join(map(str, process.first("ready")["addresses"]))

    def probe(
        self, host: str, targets: Sequence[str]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The findings of a probe at `host`: about itself, and about each target."""
        command = child.command("peers.testbed.probe", self.bootstrap, str(SETTLE), *targets)
        done = subprocess.run(
            self._nets.command(host, *command),
            env=child.environment(ROOT),
            capture_output=True,
            text=True,
            timeout=PROBE_PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise SwarmProblem(f"the probe at {host} ended with {done.returncode}: {done.stderr}")
        own, *found = map(json.loads, done.stdout.splitlines())
        return own, found


@contextmanager
def bed() -> Iterator[tuple[Networks, Bed]]:
    """Networks and peers, all removed at the end of the block. Raises `NoNetworks`."""
    with (
        networks() as nets,
        tempfile.TemporaryDirectory(prefix="paris-testbed-") as folder,
        Bed(nets, Path(folder)) as peers,
    ):
        yield nets, peers


def short(relays: int) -> list[Row]:
    """Measure a peer behind a router from behind another router."""
    with bed() as (nets, peers):
        nets.behind_router("seed")
        nets.behind_router("probe")
        peers.relays(relays)
        seed = peers.peer("seed", "--seed-shipped-run", "--no-replicate")
        return rows_from(peers, "probe", {"seed": peers.addresses(seed)})


def full(say: Say) -> list[Row]:
    """Measure public, far, routed and symmetrically routed peers: who reaches whom, and how."""
    with bed() as (nets, peers):
        far, proxy = nets.public("far"), nets.public("farlink")
        nets.behind_router("home")
        nets.behind_router("other")
        nets.behind_router("strict", symmetric=True)
        peers.relays(RELAYS)
        say(f"{RELAYS} relays are up")
        peers.slow_link("farlink", far)
        announce = ("--announce", f"/ip4/{proxy}/tcp/{PORT}")
        seeds = {
            f"far ({2 * DELAY_MS} ms, {LOSS_PERCENT} %)": peers.peer(
                "far", "--seed-shipped-run", "--no-replicate", *announce
            ),
            "home (router)": peers.peer("home", "--seed-shipped-run", "--no-replicate"),
        }
        say("two peers hold the shipped run: one far away, one behind a router")
        targets = {name: peers.addresses(seed) for name, seed in seeds.items()}
        found = []
        for host, name in (
            ("relay2", "relay2 (public)"),
            ("other", "other (router)"),
            ("strict", "strict (symmetric)"),
        ):
            say(f"measuring from {name}")
            found += rows_from(peers, host, targets, name)
        return found


def rows_from(peers: Bed, host: str, targets: dict[str, str], name: str = "") -> list[Row]:
    """One row for each target, as seen from a host."""
    own, found = peers.probe(host, list(targets.values()))
    return [
        Row(
            name or host,
            target,
            str(one["way"]),
            float(one.get("mib_per_s", 0.0)),
            float(one.get("opened_in_s", 0.0)),
            str(one.get("reason", f"{own['state']}, NAT {own['nat']}")),
        )
        for target, one in zip(targets, found, strict=True)
    ]


def main(arguments: Sequence[str]) -> int:
    try:
        found = short(RELAYS) if "--short" in arguments else full(partial(print, flush=True))
    except NoNetworks as error:
        print(f"skipped: {error}", file=sys.stderr)
        return 0
    print(
        f"{'from':22} {'to':22} {'way':8} {'MiB/s':>8} {'opened s':>8}  the source's own standing"
    )
    print("\n".join(map(str, found)))
    return 0 if all(row.way != "none" for row in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
