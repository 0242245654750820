"""A job that ends with the command that began it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from paris_p2p.cli.output import Reporter
from paris_p2p.errors import Interrupted, ParisError

if TYPE_CHECKING:
    from paris_p2p.api.calling import Client
    from paris_p2p.api.events import Event


def outcome(
    client: Client,
    kind: str,
    request: Mapping[str, Any],
    end: str,
    show: Callable[[Event], None],
) -> Event:
    """Begin a job and show its events; returns the last one, which is called `end`.

    Ctrl-C stops the job. Interrupted if somebody else stopped it.
    """
    job = client.begin(kind, request)
    try:
        for event in client.follow(job):
            if event["event"] == end:
                return event
            show(event)
    except KeyboardInterrupt:
        with suppress(ParisError):
            client.stop(job)
        raise
    raise Interrupted(f"the {kind} was stopped")


def show_process(reporter: Reporter, event: Event) -> None:
    """Show an event that all jobs of the sampling process have."""
    match event["event"]:
        case "queued":
            reporter.wait("waiting for the job before this one", 0, None, event)
        case "looking":
            total, answering = event["candidates"], event["answering"]
            counts = f": {answering} of {total} candidates answer" if total else ""
            reporter.wait(f"looking for checkpoints{counts}", answering, None, event)
        case "fetching":
            label = f"fetching {event['content'][:8]}, {event['total'] / 1e6:.1f} MB"
            reporter.wait(label, event["bytes"], event["total"], event)
        case "loading":
            reporter.wait("loading the networks", 0, None, event)
        case "exporting" | "importing":
            reporter.wait(event["event"], event["part"], event["parts"], event)
        case "warning":
            reporter.say(f"warning: {event['text']}", event)
