"""`paris-peer export`: write the run as a folder that diffusers loads."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from paris_p2p.cli.following import outcome, show_process
from paris_p2p.cli.options import BootstrapOption, HomeOption, JsonOption, RunOption, home_of
from paris_p2p.cli.output import reporting
from paris_p2p.files import check_new_folder
from paris_p2p.home import absolute


def export_run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the router, all experts and the encoders, and write them for diffusers.

    DiffusionPipeline.from_pretrained(DIR, trust_remote_code=True) then draws without paris-p2p. The
    folder appears when it is complete.

        paris-peer export emoji-64
    """
    from paris_p2p.api.client import connected

    target = absolute(folder)
    check_new_folder(target)
    with (
        connected(home_of(home), bootstrap or [], run) as client,
        reporting(as_json) as reporter,
    ):
        show = partial(show_process, reporter)
        event = outcome(client, "export", {"folder": str(target)}, "exported", show)
        count = len(event["experts"])
        experts = "1 expert" if count == 1 else f"{count} experts"
        reporter.say(f"wrote {event['folder']}: {experts} and the router", event)
