"""The command: `python -m simulator --peers 10000 --clusters 8 64 512 --scenario all --seed 1`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console

from simulator.report import LEGEND, as_json, summary, table
from simulator.scenario import SCENARIOS, simulate

WIDTH = 150
"""Columns of the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulations asked for and print the result."""
    asked = _parser().parse_args(arguments)
    names = list(SCENARIOS) if "all" in asked.scenario else asked.scenario
    outcomes = []
    for name in names:
        for clusters in asked.clusters:
            for seed in range(asked.seed, asked.seed + asked.seeds):
                print(f"{name}, {clusters} experts, seed {seed}", file=sys.stderr, flush=True)
                outcomes.append(simulate(SCENARIOS[name], asked.peers, clusters, seed))
    rows = summary(outcomes)
    if asked.json:
        print(json.dumps(as_json(rows, outcomes)))
    else:
        console = Console(width=WIDTH)
        console.print(f"{asked.peers} peers; K experts; times in seconds")
        console.print(table(rows))
        console.print(LEGEND)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=main.__doc__)
    parser.add_argument("--peers", type=_positive, default=10_000)
    parser.add_argument("--clusters", type=_positive, nargs="+", default=[8, 64, 512])
    parser.add_argument("--scenario", nargs="+", choices=[*SCENARIOS, "all"], default=["all"])
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=_positive, default=1, help="how many seeds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    main()
