"""Export and import as jobs, by a real process on a run of two tiny experts."""

from __future__ import annotations

import os
import signal
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.errors import BadContent, UsageProblem, WorkerDied
from paris_p2p.peer.pipeline.export_job import ExportJob
from paris_p2p.peer.pipeline.import_job import ImportJob
from paris_p2p.peer.sampling.process_job import ProcessJob
from paris_p2p.peer.sampling.sampling_job import SamplingJob
from paris_p2p.sampling.request import SampleRequest
from tests.peer.sampling.test_sampling_job import Studio, kinds, publish
from tests.peer.sampling.test_sampling_job import studio as studio  # a fixture
from tests.sampling.shelf import Shelf
from tests.sampling.shelf import full_shelf as full_shelf  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.process]

REQUEST = SampleRequest(("a red apple",), steps=2)


async def done(job: ProcessJob) -> list[dict[str, Any]]:
    return [event async for event in job.events()]


def export_of(studio: Studio, folder: Path) -> ExportJob:
    return ExportJob(studio.peer, studio.sampler, folder)


def import_of(studio: Studio, folder: Path, name: str | None = None) -> ImportJob:
    return ImportJob(studio.peer.node, studio.sampler, folder, name)


async def test_a_run_goes_out_and_comes_in_and_draws_the_same_picture(
    studio: Studio, full_shelf: Shelf, tmp_path: Path
) -> None:
    worse = publish(studio.peer, full_shelf, "explosive-0", 0, 10**6, studio.liar)
    folder = tmp_path / "out"
    out = await done(export_of(studio, folder))
    assert kinds(out) == ["looking", "loading", "exporting", "warning", "exported"]
    assert out[-1] == {"event": "exported", "folder": str(folder), "experts": [0, 1]}
    assert studio.peer.node.refusals.is_condemned(worse, studio.liar.node.identity.author)
    with pytest.raises(UsageProblem, match="exists"):
        export_of(studio, folder)

    job = import_of(studio, folder, "again")
    come = await done(job)
    assert kinds(come) == ["loading", "importing", "imported"]
    made = studio.peer.node.memberships[job.run_id]
    assert come[-1]["run"] == made.run_id.hex() and made.run.name == "again"
    assert not (studio.peer.node.home.cache_dir / "import").exists()

    pictures = []
    for membership in (studio.peer, made):
        (*_, drawn) = await done(SamplingJob(membership, studio.sampler, REQUEST))
        pictures.append(Path(drawn["file"]))
    assert pixels(pictures[0]) == pixels(pictures[1])


def pixels(picture: Path) -> bytes:
    from PIL import Image

    with Image.open(picture) as image:
        return image.tobytes()


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_an_export_that_ends_early_leaves_no_folder(
    studio: Studio, tmp_path: Path, end: str
) -> None:
    folder = tmp_path / "in" / "out"
    job = export_of(studio, folder)

    async def until_it_writes() -> None:
        async with aclosing(job.events()) as events:
            async for event in events:
                if event["event"] == "exporting" and list(folder.parent.glob(".out.*")):
                    if end == "stopped":
                        job.stop()
                    elif studio.sampler.process is not None:
                        os.kill(studio.sampler.process.pid, signal.SIGKILL)

    if end == "killed":
        with pytest.raises(WorkerDied, match="SIGKILL"):
            await until_it_writes()
    else:
        await until_it_writes()
    assert not folder.exists()

    assert (await done(export_of(studio, folder)))[-1]["event"] == "exported"
    assert list(folder.parent.iterdir()) == [folder]


async def test_a_folder_that_does_not_fit_is_said_and_changes_nothing(
    studio: Studio, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    await done(export_of(studio, folder))
    (folder / "expert_1" / "diffusion_pytorch_model.safetensors").write_bytes(b"{}" * 50)
    before = dict(studio.peer.node.memberships)
    with pytest.raises(
        BadContent, match=r"expert_1/diffusion_pytorch_model\.safetensors: a header"
    ):
        await done(import_of(studio, folder))
    assert studio.peer.node.memberships == before
    with pytest.raises(UsageProblem, match="there is no folder"):
        import_of(studio, tmp_path / "nothing")
