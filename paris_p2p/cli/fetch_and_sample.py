"""`paris-peer fetch-and-sample`: turn prompts into a picture with the swarm's experts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paris_p2p import child
from paris_p2p.cli.options import (
    BootstrapOption,
    HomeOption,
    JsonOption,
    RunOption,
    home_of,
)
from paris_p2p.cli.output import Reporter, reporting

if TYPE_CHECKING:
    from paris_p2p.api.calling import Client
    from paris_p2p.api.events import Event
    from paris_p2p.peer.sampling.ensemble import HeadRow
    from paris_p2p.peer.sampling.picture_file import PictureFile
    from paris_p2p.peer.sampling.request import SampleRequest


def fetch_and_sample(
    prompts: Annotated[list[str], typer.Argument(help="What to draw; several make a sheet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path(
        "paris.png"
    ),
    count: Annotated[int, typer.Option("--count", "-n", help="Images of each prompt.")] = 1,
    strategy: Annotated[
        str | None, typer.Option(help="top-1, top-2 (default), top-k, threshold or full.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Mix this many experts (implies --strategy top-k).")
    ] = None,
    steps: Annotated[int, typer.Option(help="Euler steps.")] = 30,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance scale.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Image i uses the noise of seed + i.")] = 0,
    scale: Annotated[int, typer.Option(min=1, max=16, help="Enlarge the pixels.")] = 3,
    bootstrap: BootstrapOption = None,
    home: HomeOption = None,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the router and the experts it calls for, sample, write a PNG with its provenance.

    paris-peer fetch-and-sample "blue heart, noto style"

    paris-peer fetch-and-sample "cat face" "cookie" -n 4 --seed 7 -o sheet.png
    """
    from paris_p2p.peer.sampling.picture_file import PictureFile
    from paris_p2p.peer.sampling.request import SampleRequest

    request = SampleRequest(
        prompts=tuple(prompts),
        count=count,
        strategy=strategy or ("top-2" if top_k is None else "top-k"),
        top_k=top_k,
        steps=steps,
        guidance=guidance,
        seed=seed,
    )
    file = PictureFile(output)
    from paris_p2p.api.client import connected

    with (
        connected(home_of(home), bootstrap or [], run) as client,
        reporting(as_json) as reporter,
    ):
        _sample(client, reporter, request, file, scale)


def _sample(
    client: Client, reporter: Reporter, request: SampleRequest, file: PictureFile, scale: int
) -> None:
    found = _candidates(client, reporter)
    child.leave_deleted_folder()

    from paris_p2p.peer.sampling.ensemble import Ensemble
    from paris_p2p.peer.sampling.pictures import png_of

    sealed_run = bytes.fromhex(found["sealed_run"])
    count = len(request.captions())
    label = "sampling an image" if count == 1 else f"sampling {count} images"
    ensemble = Ensemble(sealed_run, found["heads"], PeerContents(client, reporter))
    pictures = ensemble.sample(
        request,
        lambda done, total: reporter.wait(
            label,
            done,
            total,
            {"event": "sampling", "step": done, "steps": total},
        ),
    )
    file.write(png_of(pictures, scale))
    event = {
        "event": "sampled",
        "path": str(file.path.absolute()),
        "images": [picture.provenance for picture in pictures],
    }
    lost = max(picture.provenance["lost_mass"] for picture in pictures)
    note = f"; up to {lost:.0%} of the router's choice had no expert" if lost > 0.005 else ""
    reporter.say(f"wrote {file.path.absolute()}{note}", event)


def _candidates(client: Client, reporter: Reporter) -> Event:
    """The heads of every slot that can be had now; what is looked for is told meanwhile."""
    for event in client.events("/v1/candidates", {}):
        if event["event"] == "heads":
            return event
        total, answering = event["candidates"], event["answering"]
        counts = f": {answering} of {total} candidates answer" if total else ""
        reporter.wait(f"looking for checkpoints{counts}", answering, None, event)
    raise AssertionError("a search ends with heads or an error")


class PeerContents:
    """Content through this home's peer; see `peer.sampling.Contents`."""

    def __init__(self, client: Client, reporter: Reporter) -> None:
        self._client = client
        self._reporter = reporter

    def fetch(self, content: str) -> Path:
        _, path = self._fetched(self._client.events("/v1/fetch", {"contents": [content]}))
        return path

    def fetch_head(self, slot: int, contents: Sequence[str]) -> tuple[str, Path]:
        body = {"slot": slot, "contents": list(contents)}
        return self._fetched(self._client.events("/v1/fetch-head", body))

    def heads(self, slot: int) -> Sequence[HeadRow]:
        rows: Sequence[HeadRow] = _candidates(self._client, self._reporter)["heads"][str(slot)]
        return rows

    def condemn(self, head: HeadRow, reason: str) -> bool:
        refuted = {"content": head["manifest"], "author": head["author"], "reason": reason}
        return bool(self._client.post("/v1/condemned", refuted).get("condemned"))

    def _fetched(self, events: Iterable[Event]) -> tuple[str, Path]:
        for event in events:
            if event["event"] == "fetched":
                ((content, path),) = event["paths"].items()
                return content, Path(path)
            label = f"fetching {event['content'][:8]}, {event['total'] / 1e6:.1f} MB"
            self._reporter.wait(label, event["bytes"], event["total"], event)
        raise AssertionError("a fetch ends with its paths or an error")
