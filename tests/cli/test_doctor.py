"""`paris-peer doctor` as typed: rows whatever is wrong, and exit code 1 when something is bad."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.api import client
from paris_p2p.cli.doctor import doctor
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.peer.doctor import machine_checks, machine_probes
from paris_p2p.peer.doctor.peer_checks import report
from paris_p2p.peer.last_session import read_port, remember_port
from paris_p2p.peer.shipped_run import load_shipped_run
from paris_p2p.store.chunks import ChunkStore
from tests.cli.test_commands import paris_peer

pytestmark = pytest.mark.process


def rows_of(stdout: str) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in json.loads(stdout)}


@pytest.mark.slow
def test_this_machine_alone_is_checked_without_a_peer_and_what_is_wrong_is_bad(
    tmp_path: Path,
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        (tmp_path / "config.toml").write_text(f"port = {taken.getsockname()[1]}\n")
        done = paris_peer("doctor", "--local", "--home", str(tmp_path), "--json")
    rows = rows_of(done.stdout)
    assert rows["port"]["state"] == rows["disk writes"]["state"] == "bad"
    assert rows["versions"]["state"] == rows["UDP"]["state"] == "ok"
    assert rows.keys() >= {"open files", "disk space", "memory", "GPU"}
    assert "peers" not in rows
    assert done.returncode == 1


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.slow
def test_a_dead_bootstrap_is_a_bad_line_with_a_remedy_and_no_traceback(tmp_path: Path) -> None:
    dead = f"/ip4/127.0.0.1/tcp/9/p2p/{Identity.generate().peer_id}"
    done = paris_peer("doctor", "--home", str(tmp_path), "--bootstrap", dead)
    assert done.returncode == 1
    assert "bad" in done.stdout and "another --bootstrap" in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.slow
def test_a_checkup_takes_no_content_into_the_home_and_leaves_its_port(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        remember_port(home, port)
        done = paris_peer("doctor", "--home", str(tmp_path), "--json")
    assert rows_of(done.stdout)["run"]["seen"].startswith("emoji-64"), done.stdout
    assert read_port(home) == port
    shipped = load_shipped_run()
    assert set(ChunkStore(home.store_dir).ids()) <= {shipped.id}
    assert not [file for file in home.runs_dir.rglob("*") if file.is_file()]


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a home to another user")
@pytest.mark.slow
def test_root_changes_nothing_in_the_home_of_a_stopped_service(tmp_path: Path) -> None:
    service = 12345
    for folder in (tmp_path, tmp_path / "store"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, service, service)
    done = paris_peer("doctor", "--home", str(tmp_path), "--json")
    rows = rows_of(done.stdout)
    assert done.returncode == 1
    assert "belongs to the user with the number 12345" in rows["peer"]["seen"]
    assert rows["peer"]["remedy"].startswith("Run as that user")
    assert "not tried" in rows["disk writes"]["seen"]
    assert [file.name for file in tmp_path.rglob("*")] == ["store"]

    done = paris_peer("status", "--home", str(tmp_path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert [file.name for file in tmp_path.rglob("*")] == ["store"]


def test_the_limit_of_files_is_that_of_the_running_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Told:
        def get(self, path: str) -> dict[str, Any]:
            return report([machine_checks.files_row(300)], training_bytes=None)

    monkeypatch.setattr(client, "running_client", lambda home: Told())
    monkeypatch.setattr(machine_probes, "training_devices", list)
    monkeypatch.setattr(machine_probes, "open_files", lambda: 77)
    doctor(home=tmp_path, as_json=True)
    (row,) = (row for row in json.loads(capsys.readouterr().out) if row["check"] == "open files")
    assert row["seen"].startswith("300 ")
