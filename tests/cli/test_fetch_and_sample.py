"""What the sampling command tells of its job, and what becomes of the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.cli.fetch_and_sample import _sample, show
from paris_p2p.cli.output import PlainLines
from paris_p2p.errors import Interrupted
from paris_p2p.peer.sampling.picture_file import PictureFile
from paris_p2p.sampling.request import SampleRequest

REQUEST = SampleRequest(("apple",), scale=2)


@dataclass
class Peer:
    """A peer with one job, whose events a test makes up."""

    events: list[dict[str, Any] | BaseException]
    begun: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def begin(self, kind: str, request: Mapping[str, Any]) -> str:
        self.begun.append((kind, request))
        return "7"

    def follow(self, job: str) -> Iterator[dict[str, Any]]:
        assert job == "7"
        for event in self.events:
            if isinstance(event, BaseException):
                raise event
            yield event

    def stop(self, job: str) -> None:
        self.stopped.append(job)


def sample(peer: Peer, file: PictureFile) -> None:
    _sample(peer, PlainLines(period=0), REQUEST, file)  # type: ignore[arg-type]


def test_every_event_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = PlainLines(period=0)
    for event in (
        {"event": "queued"},
        {"event": "looking", "candidates": 0, "answering": 0},
        {"event": "looking", "candidates": 10, "answering": 2},
        {"event": "fetching", "content": "ab" * 32, "bytes": 1, "total": 2_000_000},
        {"event": "loading"},
        {"event": "warning", "text": "the prompt is cut"},
        {"event": "sampling", "step": 1, "steps": 4, "steps_per_second": 9.0},
    ):
        show(reporter, event, 2)
    assert capsys.readouterr().out.splitlines() == [
        "waiting for the job before this one",
        "looking for checkpoints",
        "looking for checkpoints: 2 of 10 candidates answer",
        "fetching abababab, 2.0 MB  0%",
        "loading the networks",
        "warning: the prompt is cut",
        "sampling 2 images, 9.0 steps/s  25%",
    ]


def test_the_finished_picture_goes_where_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished, wanted = tmp_path / "finished.png", tmp_path / "wanted.png"
    finished.write_bytes(b"picture")
    images = [
        {"lost_mass": 0.25, "expert_weights": {"3": 0.8, "5": 0.2}},
        {"lost_mass": 0, "expert_weights": {"5": 1.0}},
    ]
    event = {"event": "sampled", "file": str(finished), "images": images, "fetched": 4_421_000}
    peer = Peer([event])

    sample(peer, PictureFile(wanted))

    ((kind, asked),) = peer.begun
    assert (kind, asked["prompts"], asked["scale"]) == ("sampling", ("apple",), 2)
    assert wanted.read_bytes() == b"picture"
    assert capsys.readouterr().out == (
        f"wrote {wanted}: drawn by expert 5 (60%), expert 3 (40%); fetched 4.4 MB; "
        "up to 25% of the router's choice had no expert\n"
    )
    assert peer.stopped == []


def test_ctrl_c_stops_the_drawing(tmp_path: Path) -> None:
    peer = Peer([{"event": "loading"}, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        sample(peer, PictureFile(tmp_path / "wanted.png"))
    assert peer.stopped == ["7"]


def test_a_drawing_that_somebody_else_stopped_is_told(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="was stopped"):
        sample(Peer([{"event": "loading"}]), PictureFile(tmp_path / "wanted.png"))
