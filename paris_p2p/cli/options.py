"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paris_p2p.home import Home, default_home

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="The folder this peer owns (default: $PARIS_HOME or the user's data folder)."
    ),
]
BootstrapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--bootstrap",
        "-b",
        help="Address of any peer, /ip4/HOST/tcp/PORT/p2p/ID; repeat for several.",
    ),
]
RunOption = Annotated[
    str | None, typer.Option("--run", help="Run id in hex (default: the run shipped with paris).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]


def home_of(path: Path | None) -> Home:
    return Home(path if path is not None else default_home())
