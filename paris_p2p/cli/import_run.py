"""`paris-peer import`: take a folder of diffusers' form in as a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from paris_p2p.cli.following import outcome, show_process
from paris_p2p.cli.options import BootstrapOption, HomeOption, JsonOption, home_of
from paris_p2p.cli.output import reporting
from paris_p2p.home import absolute


def import_run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to read.")],
    name: Annotated[
        str | None, typer.Option(help="The run's name (default: the one in the folder).")
    ] = None,
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a run of a folder: one that `export` wrote, or one like the published Paris repository.

    Only safetensors are read, and no code. This peer signs the run and serves it. It has no data:
    it is sampled and not trained.

        paris-peer import paris-weights --name paris
    """
    from paris_p2p.api.client import connected

    request = {"folder": str(absolute(folder)), "name": name}
    with (
        connected(home_of(home), bootstrap or [], None) as client,
        reporting(as_json) as reporter,
    ):
        event = outcome(client, "import", request, "imported", partial(show_process, reporter))
        there = f"{len(event['experts'])} of {event['clusters']} experts"
        reporter.say(f"imported {event['name']}, {there}: the run {event['run']}", event)
