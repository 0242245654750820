"""What the sampling command asks of its peer, and what it tells meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.cli.fetch_and_sample import PeerContents, _candidates
from paris_p2p.cli.output import PlainLines


@dataclass
class Peer:
    """A peer's API that answers with what it was given."""

    answers: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    condemns: bool = True

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append((path, body))
        yield from self.answers[path]

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((path, body))
        return {"condemned": self.condemns}


def test_how_many_candidates_answer_is_told_from_the_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    looking = [
        {"event": "looking", "candidates": total, "answering": count}
        for total, count in ((0, 0), (10, 0), (10, 2))
    ]
    found = {"event": "heads", "heads": {}, "sealed_run": ""}
    peer = Peer({"/v1/candidates": [*looking, found]})

    assert _candidates(peer, PlainLines(period=0)) == found  # type: ignore[arg-type]

    assert capsys.readouterr().out.splitlines() == [
        "looking for checkpoints",
        "looking for checkpoints: 0 of 10 candidates answer",
        "looking for checkpoints: 2 of 10 candidates answer",
    ]


def test_the_checkpoint_that_won_is_used_and_a_refuted_one_reported() -> None:
    coming = {"event": "fetching", "content": "ab" * 32, "bytes": 1, "total": 2}
    peer = Peer({"/v1/fetch-head": [coming, {"event": "fetched", "paths": {"cd" * 32: "/f"}}]})
    contents = PeerContents(peer, PlainLines())  # type: ignore[arg-type]

    assert contents.fetch_head(3, ["ab" * 32, "cd" * 32]) == ("cd" * 32, Path("/f"))
    head = {"manifest": "cd" * 32, "author": "12D3Koo", "step": 1}
    assert contents.condemn(head, "absurd")

    assert peer.asked == [
        ("/v1/fetch-head", {"slot": 3, "contents": ["ab" * 32, "cd" * 32]}),
        ("/v1/condemned", {"content": "cd" * 32, "author": "12D3Koo", "reason": "absurd"}),
    ]
    peer.condemns = False
    assert not contents.condemn(head, "absurd")
