"""The commands about runs, before a client that answers as a peer would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from paris_p2p.api import client
from paris_p2p.cli import app

ROW = {
    "id": "ab" * 32,
    "name": "[b]emoji",
    "clusters": 8,
    "members_only": True,
    "held": 12,
    "training": [3, -1],
}


class Told:
    """Notes what is asked of a peer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []

    def get(self, path: str) -> dict[str, Any]:
        self.asked.append(("GET", path, None))
        return {"runs": [ROW]}

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(("POST", path, dict(body)))
        return ROW

    def delete(self, path: str) -> dict[str, Any]:
        self.asked.append(("DELETE", path, None))
        return {"left": "cd" * 32}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    peer = Told()

    @contextmanager
    def connected(*_: object) -> Iterator[Told]:
        yield peer

    monkeypatch.setattr(client, "connected", connected)
    return peer


def run(home: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["run", *arguments, "--home", str(home)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_runs_are_listed(told: Told, tmp_path: Path) -> None:
    printed = run(tmp_path, "list")
    for text in ("[b]emoji (members only)", "12 contents", "expert 3, router"):
        assert text in printed
    assert json.loads(run(tmp_path, "list", "--json")) == {"runs": [ROW]}


def test_a_run_is_joined_by_its_id(told: Told, tmp_path: Path) -> None:
    assert "takes part in [b]emoji (abababababab)" in run(tmp_path, "join", "ab" * 32)
    assert told.asked == [("POST", "/v1/runs", {"run": "ab" * 32})]


def test_a_run_is_left_by_its_name_whatever_that_is(told: Told, tmp_path: Path) -> None:
    assert "has left the run cdcdcdcdcdcd" in run(tmp_path, "leave", "my run/2?")
    assert told.asked == [("DELETE", "/v1/runs/my%20run%2F2%3F", None)]
