"""What people read of a training job."""

from __future__ import annotations

import json

import pytest

from paris_p2p.cli.output import JsonLines, PlainLines
from paris_p2p.cli.status import job_line
from paris_p2p.cli.training import show

PEER = "12D3KooWDCFUamotkbPpoot6BMCdjp1kvHpVLixqTT86qzN44X5"
PUBLISHED = {"slot": 3, "name": "expert 3", "step": 1200, "bytes": 20_106_240}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"event": "resuming", "from": "resume", "step": 1200, "by": PEER},
            "resuming from resume state of 12D3...6qzN44X5 at step 1200",
        ),
        (
            {"event": "resuming", "from": "head", "step": 7, "by": PEER},
            "resuming from head of 12D3...6qzN44X5 at step 7",
        ),
        (
            {"event": "resuming", "from": "snapshot", "step": 7},
            "resuming from own snapshot at step 7",
        ),
        (
            {"event": "phase", "phase": "encoding captions", "done": 64, "total": 640},
            "encoding captions  10%",
        ),
        ({"event": "resuming", "from": "scratch", "step": 0}, "training from scratch"),
        ({"event": "resuming", "from": "base", "step": 0}, "training from the run's base"),
        (
            {"event": "passed_over", "from": "resume", "step": 9, "by": PEER, "reason": "too good"},
            "cannot resume from resume state of 12D3...6qzN44X5 at step 9: too good",
        ),
        (
            {"event": "resume_published", **PUBLISHED},
            "published expert 3 step 1200 as resume state: 20.1 MB",
        ),
        ({"event": "looking"}, "looking for an expert that needs a peer"),
        ({"event": "warning", "text": "another peer"}, "another peer"),
        (
            {"event": "published", **PUBLISHED, "held_out_loss": 0.5, "behind": 1300},
            "published expert 3 step 1200: 20.1 MB, held-out loss 0.5000. This key has published "
            "step 1300 before: another peer may use a copy of this home's key",
        ),
        (
            {"event": "waiting", "seconds": 4.6, "reason": "it crashed"},
            "it crashed. Again in 5 s",
        ),
    ],
)
def test_each_event_is_one_line_for_people_and_itself_for_programs(
    capsys: pytest.CaptureFixture[str], event: dict[str, object], line: str
) -> None:
    show(PlainLines(), event)
    assert capsys.readouterr().out == line + "\n"
    show(JsonLines(), event)
    assert json.loads(capsys.readouterr().out) == event


def test_the_status_tells_what_is_trained_and_how_far_it_is() -> None:
    progress = {"step": 7, "train_loss": 0.41234}
    assert job_line({"slot": 3, "event": "fetching"}) == "trains expert 3"
    assert job_line({"slot": -1, "event": "snapshot", **progress}) == (
        "trains router: step 7  loss 0.4123"
    )
    assert job_line({"slot": 3, "event": "progress", **progress, "images_per_second": 30.2}) == (
        "trains expert 3: step 7  loss 0.4123  30 images/s"
    )
