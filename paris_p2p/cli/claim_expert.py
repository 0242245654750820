"""`paris-peer claim-expert`: lease an expert, train it in isolation, publish its checkpoints."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

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
from paris_p2p.errors import Held, UsageProblem
from paris_p2p.records.run import ROUTER, slot_name

if TYPE_CHECKING:
    from paris_p2p.api.calling import Client
    from paris_p2p.api.events import Event

MOST_STEPS = 2**48
"""Largest step count."""
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
    """Claim an expert, train it with no network at all, publish its checkpoints.

    Ctrl-C finishes the step, snapshots, publishes and releases; a second one ends the command at
    once. Even after kill -9 the same command resumes from the last snapshot.

    If this command is killed, a peer started with `paris-peer start` goes on training. The command
    with --expert and that expert then follows the training, and Ctrl-C stops it.

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
    ):
        training = Training(client, reporter)
        with on_first_signal(training.stop):
            after = training.begin_or_join(request)
            for event in training.events(after):
                show(reporter, event, steps, minutes)


def _seconds(minutes: float) -> float:
    if not math.isfinite(minutes * 60):
        raise UsageProblem(f"--minutes {minutes} is not a duration", "Leave it out to go on")
    return minutes * 60


class Training:
    """A training job of the peer: begun or joined, then followed."""

    def __init__(self, client: Client, reporter: Reporter) -> None:
        self._client = client
        self._reporter = reporter
        self._job: str | None = None
        self._has_claim = False
        self._told_to_stop = False

    def stop(self) -> None:
        """Ask the job to end in good order. Without a claim, there is nothing to wait for."""
        self._told_to_stop = True
        if self._job is None:  # it is being begun and has no id yet
            return
        if self._has_claim:
            self._reporter.say("stopping: snapshot, publish, release", {"event": "stopping"})
        self._client.stop(self._job)
        if not self._has_claim:
            raise KeyboardInterrupt

    def begin_or_join(self, request: Mapping[str, Any]) -> int:
        """Begin a job, or join the one at the wanted slot; returns the last event to skip."""
        has_chosen = self._client.run or len(self._client.runs()) == 1
        at_work = self._at_work() if has_chosen else []
        for row in at_work:
            if row["slot"] == request["expert"]:
                return self._join(row, request)
        for row in at_work:
            self._tell_of(row)
        self._job = self._client.begin("training", request)
        if self._told_to_stop:
            self.stop()
        return 0

    def events(self, after: int) -> Iterator[Event]:
        assert self._job is not None
        for event in self._client.follow(self._job, after):
            self._has_claim = self._has_claim or event["event"] == "claimed"
            yield event

    def _at_work(self) -> list[dict[str, Any]]:
        """The running training jobs that have a slot."""
        return [
            row
            for row in self._client.jobs()
            if row["kind"] == "training" and row["ended"] is None and row["slot"] is not None
        ]

    def _join(self, row: Mapping[str, Any], request: Mapping[str, Any]) -> int:
        """Follow an existing job. Held if this command asks for limits, which it cannot change."""
        name = slot_name(row["slot"])
        if any(request[limit] is not None for limit in ("max_steps", "max_seconds", "threads")):
            raise Held(
                f"this peer is training {name} already, until it is stopped or reaches its own "
                "limits",
                f"Follow or stop it without further options: {self._command(row['slot'])}",
            )
        self._job, self._has_claim = row["id"], True
        self._reporter.say(
            f"this peer is training {name} already: this follows it, Ctrl-C stops it",
            {"event": "joined", "job": row["id"], "slot": row["slot"], "name": name},
        )
        return int(row["newest"])

    def _tell_of(self, row: Mapping[str, Any]) -> None:
        """Mention a job that trains beside the one being begun."""
        name, how = slot_name(row["slot"]), self._command(row["slot"])
        self._reporter.say(
            f"this peer is training {name} too; to follow or stop that: {how}",
            {"event": "beside", "job": row["id"], "slot": row["slot"], "name": name},
        )

    def _command(self, slot: int) -> str:
        """What follows the job at a slot."""
        run = f" --run {shlex.quote(self._client.run)}" if self._client.run else ""
        return (
            f"paris-peer claim-expert {'--router' if slot == ROUTER else f'--expert {slot}'}{run}"
        )
