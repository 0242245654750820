"""`make chaos`: random faults on a swarm of real processes, and a table of what survived.

python -m tests.chaos --minutes 30 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from peers.local_swarm import SwarmProblem
from tests.chaos.arena import Arena, arena
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.flood import flood_a_run_that_names_its_authors
from tests.chaos.invariants import Verdict, left_behind, survive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None, help="default: from the clock")
    parser.add_argument("--volunteers", type=int, default=4)
    parser.add_argument("--only", nargs="+", help="names of faults, in this order, once each")
    chosen = parser.parse_args()
    seed = int(time.time()) if chosen.seed is None else chosen.seed
    console = Console()
    console.print(f"chaos for {chosen.minutes:g} minutes, seed {seed}")
    with tempfile.TemporaryDirectory(prefix="chaos-homes-") as folder:
        with arena(Path(folder) / "swarm", chosen.volunteers) as swarm:
            faults = _chosen(chosen.only) if chosen.only else _shuffled(seed, chosen.minutes * 60)
            verdicts, failures = _torment(swarm, seed, faults, Path(folder), console)
            swarm.swarm.close()
            failures += [] if chosen.only else _flood(Path(folder) / "flooded", console)
            leftovers = left_behind(swarm)
        console.print(_table(verdicts, failures))
        console.print(f"left behind: {[str(path) for path in leftovers] or 'nothing'}")
    sys.exit(1 if failures or leftovers else 0)


def _shuffled(seed: int, seconds: float) -> Iterator[Fault]:
    """Every fault in a shuffled order, again and again until the time is up."""
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    queue: list[Fault] = []
    while time.monotonic() < end:
        queue = queue or rng.sample(FAULTS, len(FAULTS))
        yield queue.pop()


def _chosen(names: Sequence[str]) -> list[Fault]:
    by_name = {fault.__name__: fault for fault in FAULTS}
    return [by_name[name] for name in names]


def _torment(
    swarm: Arena, seed: int, faults: Iterable[Fault], folder: Path, console: Console
) -> tuple[list[Verdict], list[tuple[str, str]]]:
    """One fault after the other."""
    rng = random.Random(seed)
    verdicts: list[Verdict] = []
    failures: list[tuple[str, str]] = []
    for fault in faults:
        try:
            fault(swarm, rng)
            verdict = survive(swarm, fault.__name__, swarm.heads(), folder)
            console.print(f"  {fault.__name__}: whole again after {verdict.held_again:.0f} s")
            verdicts.append(verdict)
        except (SwarmProblem, AssertionError) as problem:
            console.print(f"  [red]{fault.__name__}: {problem}[/red]", highlight=False)
            failures.append((fault.__name__, str(problem)))
        swarm.restore()
    return verdicts, failures


def _flood(folder: Path, console: Console) -> list[tuple[str, str]]:
    """The one fault that has a swarm of its own; what failed."""
    name = flood_a_run_that_names_its_authors.__name__
    try:
        flood_a_run_that_names_its_authors(folder)
    except (SwarmProblem, AssertionError) as problem:
        console.print(f"  [red]{name}: {problem}[/red]", highlight=False)
        return [(name, str(problem))]
    console.print(f"  {name}: a newcomer sampled")
    return []


def _table(verdicts: list[Verdict], failures: list[tuple[str, str]]) -> Table:
    table = Table("fault", "times", "slowest until held (s)", "heads kept", "pictures", "failed")
    by_fault: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_fault[verdict.fault].append(verdict)
    for fault in sorted({*by_fault, *(name for name, _ in failures)}):
        of = by_fault[fault]
        failed = sum(name == fault for name, _ in failures)
        table.add_row(
            fault.replace("_", " "),
            str(len(of) + failed),
            f"{max((verdict.held_again for verdict in of), default=0):.0f}",
            str(sum(verdict.heads for verdict in of)),
            str(sum(verdict.sampled for verdict in of)),
            str(failed),
        )
    return table


if __name__ == "__main__":
    main()
