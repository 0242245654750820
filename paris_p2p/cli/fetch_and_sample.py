"""`paris-peer fetch-and-sample`: turn prompts into a picture with the swarm's experts."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paris_p2p.cli.following import outcome, show_process
from paris_p2p.cli.options import (
    BootstrapOption,
    HomeOption,
    JsonOption,
    RunOption,
    home_of,
)
from paris_p2p.cli.output import Reporter, reporting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paris_p2p.api.calling import Client
    from paris_p2p.api.events import Event
    from paris_p2p.peer.sampling.picture_file import PictureFile
    from paris_p2p.sampling.request import SampleRequest


def fetch_and_sample(
    prompts: Annotated[list[str], typer.Argument(help="What to draw; several make a sheet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path(
        "paris.png"
    ),
    count: Annotated[int, typer.Option("--count", "-n", help="Images of each prompt.")] = 1,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="once, top-1, top-2, top-k, threshold or full. Default: once where the run's "
            "router reads the prompt, top-2 where it is blind."
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Mix this many experts (implies --strategy top-k).")
    ] = None,
    sampler: Annotated[str, typer.Option(help="euler, heun, unipc, dpm++ or deis.")] = "dpm++",
    steps: Annotated[int, typer.Option(help="Steps of the sampler.")] = 16,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance scale.")] = 5.0,
    guidance_routing: Annotated[
        str,
        typer.Option(help="shared: one router decision for both guidance branches; own: one each."),
    ] = "shared",
    seed: Annotated[int, typer.Option(help="Image i uses the noise of seed + i.")] = 0,
    scale: Annotated[int, typer.Option(min=1, max=16, help="Enlarge the pixels.")] = 3,
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the router and the experts it selects, sample, write a PNG with its provenance.

    paris-peer fetch-and-sample "blue heart, noto style"

    paris-peer fetch-and-sample "cat face" "cookie" -n 4 --seed 7 -o sheet.png
    """
    from paris_p2p.peer.sampling.picture_file import PictureFile
    from paris_p2p.sampling.request import SampleRequest

    request = SampleRequest(
        prompts=tuple(prompts),
        count=count,
        strategy=strategy or ("auto" if top_k is None else "top-k"),
        top_k=top_k,
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        guidance_routing=guidance_routing,
        seed=seed,
        scale=scale,
    )
    file = PictureFile(output)
    from paris_p2p.api.client import connected

    with (
        connected(home_of(home), bootstrap or [], run) as client,
        reporting(as_json) as reporter,
    ):
        _sample(client, reporter, request, file)


def _sample(client: Client, reporter: Reporter, request: SampleRequest, file: PictureFile) -> None:
    """Have the peer draw, and write the picture. The job ends with this command."""
    count = len(request.captions())
    event = outcome(
        client, "sampling", asdict(request), "sampled", lambda event: show(reporter, event, count)
    )
    _write(reporter, event, file)


def show(reporter: Reporter, event: Event, count: int) -> None:
    """Show one event of a job that draws `count` images."""
    if event["event"] == "sampling":
        label = "sampling an image" if count == 1 else f"sampling {count} images"
        pace = f", {event['steps_per_second']:.1f} steps/s"
        reporter.wait(f"{label}{pace}", event["step"], event["steps"], event)
    else:
        show_process(reporter, event)


def _write(reporter: Reporter, event: Event, file: PictureFile) -> None:
    """Write the finished picture to the output file."""
    file.write(Path(event["file"]).read_bytes())
    where = str(file.path.absolute())
    images, fetched = event["images"], event["fetched"]
    lost = max(image["lost_mass"] for image in images)
    note = f"; up to {lost:.0%} of the router's choice had no expert" if lost > 0.005 else ""
    told = {"event": "sampled", "path": where, "images": images, "fetched": fetched}
    reporter.say(
        f"wrote {where}: drawn by {_artists(images)}; fetched {fetched / 1e6:.1f} MB{note}", told
    )


def _artists(images: Sequence[Mapping[str, Any]]) -> str:
    """The experts that drew these images, the busiest first, with their shares."""
    shares: Counter[str] = Counter()
    for image in images:
        shares.update(image["expert_weights"])
    return ", ".join(
        f"expert {expert} ({share / len(images):.0%})" for expert, share in shares.most_common()
    )
