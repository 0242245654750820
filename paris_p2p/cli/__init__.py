"""The `paris-peer` command: one command, one module.

- `start`             be a peer: join, serve, announce, stay
- `claim_expert`      lease an expert, train it, publish its checkpoints
- `fetch_and_sample`  turn a prompt into a picture with the swarm's experts
- `status`            what the run and this peer are doing
- `doctor`            what works here, what does not, and what to do about it
- `contributions`     what an author's peers published
- `identity`          the key a peer is known by: backup, successor; a private swarm's key
- `training`          how a training job is told
- `output`            terminal, plain and JSON output of long work

Exit codes are those of `paris_p2p.errors`; 0 is success. Commands other than `start` speak to the
peer that runs on the home, and start one for themselves when none does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

import paris_p2p
from paris_p2p.cli.claim_expert import claim_expert
from paris_p2p.cli.contributions import contributions
from paris_p2p.cli.doctor import doctor
from paris_p2p.cli.fetch_and_sample import fetch_and_sample
from paris_p2p.cli.identity import app as identity
from paris_p2p.cli.start import start
from paris_p2p.cli.status import status
from paris_p2p.errors import Interrupted, ParisError

app = typer.Typer(
    name="paris-peer",
    help="Train a text-to-image model together: no server, no cluster, no company in the middle.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("start")(start)
app.command("claim-expert")(claim_expert)
app.command("fetch-and-sample")(fetch_and_sample)
app.command("status")(status)
app.command("doctor")(doctor)
app.command("contributions")(contributions)
app.add_typer(identity, name="identity")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"paris-p2p {paris_p2p.__version__}")
        raise typer.Exit


@app.callback()
def paris_peer(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and exit.")
    ] = False,
) -> None:
    """Train a text-to-image model together: no server, no cluster, no company in the middle."""


def bootstrap() -> None:
    """`paris-bootstrap`: the same as `paris-peer start --bootstrap-only`."""
    main(["start", "--bootstrap-only", *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; one clear line and a documented exit code for every failure.

    `arguments` are those after the program's name; None for this process's own.
    """
    try:
        sys.exit(app(arguments, standalone_mode=False))
    except ParisError as error:
        _fail(str(error), error.exit_code)
    except TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except (Abort, KeyboardInterrupt):
        _fail("interrupted", Interrupted.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)


def _fail(line: str, exit_code: int) -> NoReturn:
    """End with one line; none where the help has been shown instead."""
    if line:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(exit_code)
