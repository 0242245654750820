"""The results of simulations, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich import box
from rich.table import Table

from simulator.scenario import Outcome

Cell = dict[str, Any]

COLUMNS = (
    ("scenario", "scenario"),
    ("K", "clusters"),
    ("first held", "first_held"),
    ("takeovers", "takeovers"),
    ("p50", "takeover_p50"),
    ("p99", "takeover_p99"),
    ("max", "takeover_max"),
    ("open", "open"),
    ("longest", "longest_open"),
    ("work twice", "duplicated"),
    ("times", "duplicates"),
    ("longest", "longest_duplicate"),
    ("reads/min", "reads"),
    ("CPU s", "took"),
)


def summary(outcomes: Sequence[Outcome]) -> list[Cell]:
    """One row for each scenario and number of clusters, over all its seeds. Times in seconds."""
    return [
        _row(list(same))
        for _, same in groupby(outcomes, lambda one: (one.scenario, one.peers, one.clusters))
    ]


def table(rows: Sequence[Cell]) -> Table:
    """The rows as a table."""
    made = Table(box=box.SIMPLE_HEAD)
    for title, _ in COLUMNS:
        made.add_column(title, justify="left" if title == "scenario" else "right", no_wrap=True)
    for row in rows:
        made.add_row(*(_text(key, row[key]) for _, key in COLUMNS))
    return made


LEGEND = """\
first held   seconds until an expert was held by an honest peer: p50 / p99 / max of experts
takeovers    times an expert lost its only holder and found another; seconds it took: p50, p99, max
open         experts that have no honest holder in the end; the longest time one has been without
work twice   expert-seconds held by a second peer, of those held by one; how often, the longest time
reads/min    lookups in the DHT, per peer and minute"""


def as_json(rows: Sequence[Cell], outcomes: Sequence[Outcome]) -> Cell:
    """The table and every single simulation behind it."""
    return {"table": list(rows), "simulations": [asdict(outcome) for outcome in outcomes]}


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of all values do not exceed; None if there are none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else None


def _row(outcomes: list[Outcome]) -> Cell:
    first = outcomes[0]
    held = [time for outcome in outcomes for time in outcome.first_held]
    never = sum(outcome.clusters for outcome in outcomes) - len(held)
    orphans = [time for outcome in outcomes for time in outcome.orphans]
    takeovers = [time for outcome in outcomes for time in outcome.taken_over]
    doubles = [time for outcome in outcomes for time in outcome.duplicates]
    return {
        "scenario": first.scenario,
        "peers": first.peers,
        "clusters": first.clusters,
        "seeds": [outcome.seed for outcome in outcomes],
        "first_held": [quantile(held, 0.5), quantile(held, 0.99), quantile(held, 1.0)],
        "never_held": never,
        "takeovers": len(takeovers),
        "takeover_p50": quantile(takeovers, 0.5),
        "takeover_p99": quantile(takeovers, 0.99),
        "takeover_max": quantile(takeovers, 1.0),
        "open": never + len(orphans),
        "longest_open": first.lasts if never else max(orphans, default=None),
        "duplicated": sum(o.duplicated for o in outcomes) / len(outcomes),
        "duplicates": len(doubles),
        "longest_duplicate": quantile(doubles, 1.0),
        "reads": sum(outcome.reads for outcome in outcomes) / len(outcomes),
        "took": sum(outcome.took for outcome in outcomes),
    }


def _text(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return " / ".join(_text(key, item) for item in value)
    if isinstance(value, float):
        return f"{value:.1%}" if key == "duplicated" else f"{value:.0f}"
    return str(value)
