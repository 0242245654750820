"""`paris-peer contributions` on one's own home, and against a running peer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.peer.books.contribution_logs import ContributionLogs
from tests.cli.test_commands import paris_peer
from tests.peer.books.test_contributions import head

STARTED = ("start", "--json", "--until-stdin-closes", "--listen", "127.0.0.1")


def home_with_log(folder: Path, *steps: int) -> tuple[Home, Identity]:
    home, identity = Home(folder), Identity.generate()
    home.create()
    identity.save(home.identity_file)
    logs = ContributionLogs(home.contributions_dir)
    for parent, step in zip([None, *steps], steps, strict=False):
        logs.append(identity, head(identity, step, parent))
    return home, identity


@contextmanager
def running(home: Home) -> Iterator[str]:
    """A peer of this home; yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "paris_p2p.cli", *STARTED, "--home", str(home.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["addresses"][0]
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_ones_own_log_is_told_without_a_peer_and_with_what_it_proves(tmp_path: Path) -> None:
    home, identity = home_with_log(tmp_path, 100, 250)
    done = paris_peer("contributions", "--home", str(home.path))
    assert done.returncode == 0, done.stderr
    first, *entries, last = done.stdout.splitlines()
    assert first == f"peer {identity.peer_id}: 2 heads, 250 steps"
    assert "expert 1" in entries[1] and "step 250" in entries[1] and "+150" in entries[1]
    assert last.endswith("Not proven: that the steps were made.")


@pytest.mark.process
@pytest.mark.slow
def test_anothers_log_is_fetched_and_checked(tmp_path: Path) -> None:
    author_home, author = home_with_log(tmp_path / "author", 100, 250)
    reader = str(tmp_path / "reader")
    with running(author_home) as address:
        name = author.author.hex()
        done = paris_peer("contributions", name, "--json", "-b", address, "--home", reader)
        assert done.returncode == 0, done.stderr
        log = json.loads(done.stdout)
        assert [entry["gained"] for entry in log["entries"]] == [100, 150]
        assert log["fresh"]
    done = paris_peer("contributions", author.peer_id, "--home", reader)
    assert "as read before" in done.stdout


@pytest.mark.parametrize("author", ["nobody", "ab" * 31, "Qm" + "1" * 44])
def test_who_is_nobody_is_refused(tmp_path: Path, author: str) -> None:
    done = paris_peer("contributions", author, "--home", str(tmp_path))
    assert done.returncode == 2
    assert "neither a PeerID nor an author's key" in done.stderr
    assert len(done.stderr.splitlines()) == 1
