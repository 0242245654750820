"""`paris-peer doctor` as typed: rows whatever is wrong, and exit code 1 when something is bad."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from paris_p2p.identity import Identity
from tests.cli.test_commands import paris_peer


def rows_of(stdout: str) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in json.loads(stdout)}


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


def test_a_dead_bootstrap_is_a_bad_line_with_a_remedy_and_no_traceback(tmp_path: Path) -> None:
    dead = f"/ip4/127.0.0.1/tcp/9/p2p/{Identity.generate().peer_id}"
    done = paris_peer("doctor", "--home", str(tmp_path), "--bootstrap", dead)
    assert done.returncode == 1
    assert "bad" in done.stdout and "another --bootstrap" in done.stdout
    assert done.stderr == ""
