"""`paris-peer claim-expert`: lease an expert, train it in isolation, publish its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from paris_p2p.cli.options import (
    BootstrapOption,
    HomeOption,
    JsonOption,
    RunOption,
    home_of,
)
from paris_p2p.cli.output import Reporter, reporting
from paris_p2p.cli.signals import on_first_signal
from paris_p2p.cli.training import show
from paris_p2p.errors import UsageProblem
from paris_p2p.records.run import ROUTER

if TYPE_CHECKING:
    from paris_p2p.api.calling import Client

MOST_STEPS = 2**48
"""Where every count of steps ends."""
MOST_THREADS = 1024


def claim_expert(
    expert: Annotated[
        int | None,
        typer.Option(min=0, help="Which one (default: the one that needs a peer most)."),
    ] = None,
    router: Annotated[bool, typer.Option("--router", help="Train the router instead.")] = False,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_STEPS, help="Stop after this many steps (default: go on)."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop after this many minutes.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads (default: all cores).")
    ] = None,
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Claim an expert, train it with no network at all, publish what it learns.

    Ctrl-C finishes the step, snapshots, publishes and releases; a second one waits no longer for
    it. Even after kill -9 the same command resumes from the last snapshot.

        paris-peer claim-expert

        paris-peer claim-expert --expert 3 --minutes 30
    """
    from paris_p2p.api.client import connected

    if router and expert is not None:
        raise UsageProblem("--router and --expert exclude each other", "give one of them")
    request = {
        "expert": ROUTER if router else expert,
        "max_steps": steps,
        "max_seconds": None if minutes is None else _seconds(minutes),
        "threads": threads,
    }
    with (
        connected(home_of(home), bootstrap or [], run) as client,
        reporting(as_json) as reporter,
        _first_signal_stops(client, reporter) as job,
    ):
        for event in client.events("/v1/claim", request):
            if event["event"] == "claimed":
                job.append(event["job"])
            show(reporter, event, steps, minutes)


def _seconds(minutes: float) -> float:
    if not math.isfinite(minutes * 60):
        raise UsageProblem(f"--minutes {minutes} is no length of time", "Leave it out to go on")
    return minutes * 60


@contextmanager
def _first_signal_stops(client: Client, reporter: Reporter) -> Iterator[list[str]]:
    """The first signal asks the job to end well.

    Yields a list for the job's id, once it is known; before that there is nothing to end well.
    """
    job: list[str] = []

    def ask() -> None:
        if not job:
            raise KeyboardInterrupt
        reporter.say("stopping: snapshot, publish, release", {"event": "stopping"})
        client.stop(job[0])

    with on_first_signal(ask):
        yield job
