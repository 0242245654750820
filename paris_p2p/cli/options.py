"""Options by name: those that several commands share, then those of `start`."""

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

ListenOption = Annotated[str | None, typer.Option(help="IP address to listen on.")]
PortOption = Annotated[int | None, typer.Option(help="TCP port to listen on; 0 for any.")]
AnnounceOption = Annotated[
    list[str] | None, typer.Option(help="Address to tell others instead of the listened one.")
]
RelayOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Address of a relay to be reachable through, even where others can dial this "
        "peer; repeat for several. Who cannot be dialled finds relays by itself."
    ),
]
ServeRelayOption = Annotated[
    bool | None,
    typer.Option(
        "--serve-relay/--no-serve-relay",
        help="Relay others, once they can dial this peer (default: yes).",
    ),
]
UpnpOption = Annotated[
    bool | None,
    typer.Option("--upnp/--no-upnp", help="Ask the router to forward the port (default: no)."),
]
ApiPortOption = Annotated[int | None, typer.Option(help="Local API port; 0 for any.")]
SwarmKeyOption = Annotated[
    str | None, typer.Option(help="Key of the private swarm to join (default: the open one).")
]
SeedShippedRunOption = Annotated[
    bool | None,
    typer.Option(
        "--seed-shipped-run/--no-seed-shipped-run",
        help="Serve the shipped run from this installation's files "
        "(default: only when no bootstrap is given).",
    ),
]
ReplicateOption = Annotated[
    bool, typer.Option(help="Copy and serve content that has too few providers.")
]
TrainOption = Annotated[
    bool | None,
    typer.Option(
        "--train/--no-train",
        help="Claim and train, unattended, whatever expert needs it most (default: no).",
    ),
]
SeedOnlyOption = Annotated[
    bool | None,
    typer.Option(
        "--seed-only/--no-seed-only",
        help="Store and serve all of the run that fits into the quota; never train (default: no).",
    ),
]
StoreQuotaOption = Annotated[
    str | None,
    typer.Option(
        help='Disk to use, as in "20 GB" (default: 50 GiB). Copies for others stop there; '
        "own work is always kept."
    ),
]
UploadLimitOption = Annotated[
    str | None, typer.Option(help='Most content sent, as in "2 MB/s" (default: no limit).')
]
DownloadLimitOption = Annotated[str | None, typer.Option(help="Most content fetched, likewise.")]
BootstrapOnlyOption = Annotated[
    bool,
    typer.Option(
        "--bootstrap-only",
        help="Be an address to start from, for peers of every run: the DHT and nothing else. "
        "The command paris-bootstrap is the same.",
    ),
]


def home_of(path: Path | None) -> Home:
    return Home(path if path is not None else default_home())
