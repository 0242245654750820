"""Shows the events of a training job, for `claim-expert` and `start --train`."""

from __future__ import annotations

from typing import Any

from paris_p2p.cli.output import Reporter


def show(
    reporter: Reporter,
    event: dict[str, Any],
    steps: int | None = None,
    minutes: float | None = None,
) -> None:
    """Show one event. `steps` and `minutes` are the job's limits, for the share that is done."""
    match event["event"]:
        case "claimed":
            alone = "" if event["online"] else " (no other peer is known: join with --bootstrap)"
            reporter.say(f"claimed {event['name']}{alone}", event)
        case "fetching":
            label = f"fetching {event['content'][:8]}, {event['total'] / 1e6:.1f} MB"
            reporter.wait(label, event["bytes"], event["total"], event)
        case "passed_over":
            reporter.say(f"cannot resume from {_origin(event)}: {event['reason']}", event)
        case "retrying":
            failed = f"{_origin(event)} is tried again in {event['seconds']:.0f} s"
            reporter.say(f"{failed}: {event['reason']}", event)
        case "checking":
            reporter.wait("checking the start", 0, None, event)
        case "phase":
            reporter.wait(event["phase"], event["done"], event["total"], event)
        case "resuming":
            reporter.say(_start(event), event)
        case "progress":
            done, total = _share(event, steps, minutes)
            reporter.wait(progress_line(event), done, total, event)
        case "published":
            reporter.say(
                f"published {event['name']} step {event['step']}: {event['bytes'] / 1e6:.1f} MB, "
                f"held-out loss {event['held_out_loss']:.4f}{_behind(event)}",
                event,
            )
        case "resume_published":
            size = f"{event['bytes'] / 1e6:.1f} MB"
            reporter.say(
                f"published {event['name']} step {event['step']} as resume state: {size}", event
            )
        case "warning":
            reporter.say(event["text"], event)
        case "released":
            reporter.say(f"released {event['name']}", event)
        case "snapshot":
            reporter.wait(f"snapshot at step {event['step']}", 1, 1, event)
        case "looking":
            reporter.say("looking for an expert that needs a peer", event)
        case "waiting":
            reporter.say(f"{event['reason']}. Again in {event['seconds']:.0f} s", event)


def _start(event: dict[str, Any]) -> str:
    if event["from"] == "scratch":
        return "training from scratch"
    if event["from"] == "base":
        return "training from the run's base"
    return f"resuming from {_origin(event)}"


def _origin(event: dict[str, Any]) -> str:
    """ "resume state of 12D3...sN44X5aB at step 1200" """
    kind = {"snapshot": "own snapshot", "resume": "resume state"}.get(event["from"], event["from"])
    by = f" of {event['by'][:4]}...{event['by'][-8:]}" if "by" in event else ""
    return f"{kind}{by} at step {event['step']}"


def _behind(event: dict[str, Any]) -> str:
    """The warning if the same key has published a later step before."""
    if "behind" not in event:
        return ""
    return (
        f". This key has published step {event['behind']} before: another peer may use a copy of "
        "this home's key"
    )


def progress_line(event: dict[str, Any]) -> str:
    """Step and loss of the training and, if measured, its speed."""
    speed = f"  {event['images_per_second']:.0f} images/s" if "images_per_second" in event else ""
    return f"step {event['step']}  loss {event['train_loss']:.4f}{speed}"


def _share(
    event: dict[str, Any], steps: int | None, minutes: float | None
) -> tuple[float, float | None]:
    """This job's progress: by steps if they are limited, else by time, else unknown."""
    if steps is not None:
        return event["steps_done"], steps
    if minutes is not None:
        return event["seconds"], minutes * 60
    return event["steps_done"], None
