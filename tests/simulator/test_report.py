from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from simulator.__main__ import main
from simulator.report import COLUMNS, quantile, summary, table
from simulator.scenario import Outcome

SMALL = ["--peers", "30", "--clusters", "2", "4", "--scenario", "calm", "--seed", "3"]


def test_the_table_has_a_row_for_every_number_of_clusters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(SMALL)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows if row[:1] == ["calm"]] == ["2", "4"]


def test_json_holds_the_table_and_each_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, "--seeds", "2", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [row["seeds"] for row in told["table"]] == [[3, 4], [3, 4]]
    assert [one["clusters"] for one in told["simulations"]] == [2, 2, 4, 4]
    assert all(row["first_held"][2] is not None for row in told["table"])


def an_outcome(**changes: Any) -> Outcome:
    return replace(
        Outcome(
            scenario="made up",
            peers=9,
            clusters=2,
            seed=1,
            lasts=100.0,
            all_held=2.0,
            first_held=(1.0, 2.0),
            taken_over=(),
            orphans=(),
            duplicated=0.0,
            duplicates=(),
            leases=2,
            reads=1.0,
            took=1.0,
        ),
        **changes,
    )


def cells(outcome: Outcome) -> dict[str, str]:
    made = table(summary([outcome]))
    return {
        key: str(next(iter(made.columns[place].cells))) for place, (_, key) in enumerate(COLUMNS)
    }


@pytest.mark.parametrize(("share", "told"), [(0.0, "0.0%"), (0.012, "1.2%"), (0.304, "30.4%")])
def test_work_done_twice_is_told_in_per_cent(share: float, told: str) -> None:
    assert cells(an_outcome(duplicated=share))["duplicated"] == told


def test_experts_without_a_holder_are_counted_in_the_end() -> None:
    assert cells(an_outcome())["open"] == "0"
    lost = cells(an_outcome(orphans=(30.0,)))
    assert (lost["open"], lost["longest_open"]) == ("1", "30")
    never = cells(an_outcome(all_held=None, first_held=(1.0,), orphans=(30.0,)))
    assert (never["open"], never["longest_open"]) == ("2", "100")


@pytest.mark.parametrize("wrong", [["--peers", "0"], ["--scenario", "storm"]])
def test_what_cannot_be_simulated_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(wrong)
    assert refusal.value.code == 2


def test_quantiles() -> None:
    assert quantile([], 0.5) is None
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
