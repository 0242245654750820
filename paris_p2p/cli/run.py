"""`paris-peer run`: the runs that this home takes part in."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from paris_p2p.cli.options import BootstrapOption, HomeOption, JsonOption, home_of
from paris_p2p.cli.terminal import write, write_json, write_table
from paris_p2p.records.run import slot_name

COLUMNS = ("run", "id", "experts", "holds", "trains")

app = typer.Typer(no_args_is_help=True, help="The runs that this home takes part in.")


@app.command("list")
def list_runs(
    bootstrap: BootstrapOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Show the runs that this peer takes part in.

    paris-peer run list
    """
    from paris_p2p.api.client import connected

    with connected(home_of(home), bootstrap or [], None) as client:
        report = client.get("/v1/runs")
    if as_json:
        write_json(report)
    else:
        write_table(COLUMNS, map(_row, report["runs"]))


@app.command()
def join(
    run: Annotated[str, typer.Argument(metavar="ID", help="Id of the run: 64 hex digits.")],
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take part in one more run, now and whenever this home's peer is started.

    paris-peer run join 5f0c... --bootstrap /ip4/203.0.113.5/tcp/31337/p2p/12D3Koo...
    """
    from paris_p2p.api.client import connected

    with connected(home_of(home), bootstrap or [], None) as client:
        row = client.post("/v1/runs", {"run": run})
    _tell(row, as_json, f"takes part in {row['name']} ({row['id'][:12]})")


@app.command()
def leave(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Its id, the beginning of that, or its name.")
    ],
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Leave a run, and free what only it needed.

    What this peer published last, its private snapshots and its contribution log stay.

        paris-peer run leave emoji-64
    """
    from paris_p2p.api.client import connected

    with connected(home_of(home), bootstrap or [], None) as client:
        left = client.delete(f"/v1/runs/{quote(run, safe='')}")
    _tell(left, as_json, f"has left the run {left['left'][:12]}")


def _tell(answer: dict[str, Any], as_json: bool, words: str) -> None:
    if as_json:
        write_json(answer)
    else:
        write(f"this peer {words}")


def _row(run: dict[str, Any]) -> list[str]:
    training = ", ".join(map(slot_name, run["training"]))
    only = " (members only)" if run["members_only"] else ""
    holds = f"{run['held']} contents"
    name = f"{run['name']}{only}"
    return [name, run["id"], str(run["clusters"]), holds, training or "nothing"]
