from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.errors import BadContent
from paris_p2p.records.progress_limits import MOST_IMAGES, MOST_STEPS
from paris_p2p.records.run import ROUTER
from paris_p2p.training.job import Job, StartRefuted, check_room

from .jobs import RunFiles, as_json


def written(folder: Path, content: Any) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("slot", [0, 2, ROUTER])
def test_a_job_comes_back_from_its_file(run: RunFiles, slot: int) -> None:
    state = run.folder / "state"
    job = run.job(
        slot,
        max_seconds=1.5,
        resume_state=state,
        start_from=run.folder / "head",
        start_step=7,
        seed=3,
        objective="ddpm-linear",
    )
    assert Job.read(written(run.folder, as_json(job))) == job


def test_what_is_left_out_or_unknown_or_null_has_a_default(run: RunFiles) -> None:
    content = as_json(run.job())
    for name in ("seed", "max_steps", "start_from", "device"):
        del content[name]
    content |= {"threads": None, "parent": "of no interest to a worker"}
    job = Job.read(written(run.folder, content))
    assert (job.seed, job.max_steps, job.device, job.threads) == (0, None, "auto", None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slot", 9),
        ("slot", -2),
        ("shards", []),
        ("shards", ["a", "b"]),
        ("latent_shape", [1, 2]),
        ("latent_shape", None),
        ("recipe", {"learning_rate": "fast"}),
        ("expert", {}),
        ("objective", "mean-flow"),
        ("text_encoder", {"path": "x"}),
    ],
)
def test_a_job_that_cannot_be_meant(run: RunFiles, field: str, value: object) -> None:
    with pytest.raises(BadContent):
        Job.read(written(run.folder, as_json(run.job()) | {field: value}))


@pytest.mark.parametrize("content", [[], "job", {}])
def test_a_file_that_is_no_job(tmp_path: Path, content: object) -> None:
    with pytest.raises(BadContent):
        Job.read(written(tmp_path, content))


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadContent, match="No such file"):
        Job.read(tmp_path / "job.json")


def test_what_still_counts_may_be_too_far_to_train_on() -> None:
    check_room(MOST_STEPS // 2, MOST_IMAGES // 2)
    for step, images in ((MOST_STEPS // 2 + 1, 0), (0, MOST_IMAGES // 2 + 1)):
        with pytest.raises(StartRefuted, match="no room to train"):
            check_room(step, images)
