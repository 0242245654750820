"""What the export and import commands tell of their jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.api import client
from paris_p2p.cli.export_run import export_run
from paris_p2p.cli.import_run import import_run
from paris_p2p.errors import Interrupted, UsageProblem
from tests.cli.test_fetch_and_sample import Peer

RUN = "ab" * 32


def running(monkeypatch: pytest.MonkeyPatch, *events: dict[str, Any] | BaseException) -> Peer:
    """A peer with one job, to which every command is connected."""
    peer = Peer(list(events))

    @contextmanager
    def connected(*arguments: object) -> Iterator[Peer]:
        yield peer

    monkeypatch.setattr(client, "connected", connected)
    return peer


def test_an_export_tells_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = str(tmp_path / "out")
    peer = running(
        monkeypatch,
        {"event": "exporting", "part": 1, "parts": 4},
        {"event": "warning", "text": "nobody has expert 1"},
        {"event": "exported", "folder": folder, "experts": [0]},
    )
    export_run(Path("out"), home=tmp_path)
    assert peer.begun == [("export", {"folder": folder})]
    assert capsys.readouterr().out.splitlines() == [
        "exporting  25%",
        "warning: nobody has expert 1",
        f"wrote {folder}: 1 expert and the router",
    ]


def test_an_export_never_begins_where_something_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = running(monkeypatch)
    with pytest.raises(UsageProblem, match=f"{tmp_path} exists"):
        export_run(tmp_path, home=tmp_path)
    assert peer.begun == []


def test_an_import_tells_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = {"event": "imported", "run": RUN, "name": "paris", "clusters": 8, "experts": [0, 1]}
    peer = running(monkeypatch, {"event": "importing", "part": 1, "parts": 2}, told)
    import_run(Path("paris"), home=tmp_path)
    assert peer.begun == [("import", {"folder": str(tmp_path / "paris"), "name": None})]
    assert capsys.readouterr().out.splitlines() == [
        "importing  50%",
        f"imported paris, 2 of 8 experts: the run {RUN}",
    ]


@pytest.mark.parametrize("command", [export_run, import_run])
def test_ctrl_c_stops_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    peer = running(monkeypatch, {"event": "loading"}, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        command(tmp_path / "out", home=tmp_path)
    assert peer.stopped == ["7"]


@pytest.mark.parametrize("command", [export_run, import_run])
def test_a_job_that_somebody_else_stopped_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    running(monkeypatch, {"event": "loading"})
    with pytest.raises(Interrupted, match="was stopped"):
        command(tmp_path / "out", home=tmp_path)
