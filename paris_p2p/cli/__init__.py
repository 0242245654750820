"""The `paris-peer` command: one command, one module.

- `start`             be a peer: join, serve, announce, stay
- `claim_expert`      lease an expert, train it, publish its checkpoints
- `fetch_and_sample`  turn a prompt into a picture with the swarm's experts
- `export_run`        write the run as a folder that diffusers loads
- `import_run`        take such a folder in as a run
- `status`            what the run and this peer are doing
- `doctor`            what works here, what does not, and what to do about it
- `run`               the runs that this home takes part in: joined, left, listed
- `contributions`     what an author's peers published
- `identity`          a peer's key and its backup; a private swarm's key
- `options`           the options of several commands, and one for every setting
- `following`         a job that ends with its command, and the events of the sampling process
- `training`          shows the events of a training job
- `output`            terminal, plain and JSON output of long work
- `terminal`          the one way to the standard streams
- `signals`           Ctrl-C, SIGTERM and SIGHUP, and what a second one does

Exit codes are those of `paris_p2p.errors`; 0 is success. 1 without a message means that the reader
of the output is gone. Commands other than `start` use the peer that runs on the home, and start one
if none does.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

import paris_p2p
from paris_p2p.cli.claim_expert import claim_expert
from paris_p2p.cli.contributions import contributions
from paris_p2p.cli.doctor import doctor
from paris_p2p.cli.export_run import export_run
from paris_p2p.cli.fetch_and_sample import fetch_and_sample
from paris_p2p.cli.identity import app as identity
from paris_p2p.cli.import_run import import_run
from paris_p2p.cli.run import app as run
from paris_p2p.cli.signals import interrupt_on_signals
from paris_p2p.cli.start import start
from paris_p2p.cli.status import status
from paris_p2p.cli.terminal import complain, leave_streams, prepare_streams, write
from paris_p2p.errors import DiskFull, Interrupted, ParisError
from paris_p2p.files import NO_ROOM

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
app.command("export")(export_run)
app.command("import")(import_run)
app.command("status")(status)
app.command("doctor")(doctor)
app.command("contributions")(contributions)
app.add_typer(run, name="run")
app.add_typer(identity, name="identity")


def _version(wanted: bool) -> None:
    if wanted:
        write(f"paris-p2p {paris_p2p.__version__}")
        raise typer.Exit


@app.callback()
def paris_peer(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """Train a text-to-image model together: no server, no cluster, no company in the middle."""


def bootstrap() -> None:
    """`paris-bootstrap`: the same as `paris-peer start --bootstrap-only`."""
    main(["start", "--bootstrap-only", *sys.argv[1:]])


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Every failure gives one clear line and a documented exit code.

    `arguments` are those after the program's name; None for this process's.
    """
    prepare_streams()
    problem, exit_code = _outcome(arguments)
    if problem:
        complain(f"error: {problem}")
    leave_streams()
    sys.exit(exit_code)


def _outcome(arguments: Sequence[str] | None) -> tuple[str, int]:
    """The result of a command line: what went wrong, and the exit code.

    The message is empty on success, and when the help has been shown instead.
    """
    try:
        interrupt_on_signals()
        exit_code = app(arguments, standalone_mode=False) or 0
        return "interrupted" if exit_code == Interrupted.exit_code else "", exit_code
    except ParisError as error:
        return str(error), error.exit_code
    except TyperException as error:
        return error.format_message(), error.exit_code
    except (Abort, KeyboardInterrupt):
        return "interrupted", Interrupted.exit_code
    except OSError as error:
        full = error.errno in NO_ROOM
        words = f"{error.filename or 'the system'}: {error.strerror or error}"
        return words, DiskFull.exit_code if full else ParisError.exit_code
    except Exception as error:
        return _unexpected(error), ParisError.exit_code


def _unexpected(error: Exception) -> str:
    """The line for an unexpected error; its traceback goes into a file."""
    words = f"unexpected {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="paris-peer-", suffix=".log", delete=False
        ) as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return words
    return f"{words}. The details are in {file.name}"
