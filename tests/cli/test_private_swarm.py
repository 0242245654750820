"""A private swarm from the outside: who has no key is told so in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from paris_p2p.home import Home
from paris_p2p.network.swarm_key import SwarmKey
from tests.cli.test_commands import paris_peer
from tests.cli.test_contributions import running

pytestmark = pytest.mark.process


def configured(home: Home, key: Path) -> Home:
    home.create()
    home.config_file.write_text(f'swarm_key_file = "{key}"\n')
    return home


@pytest.mark.slow
def test_only_who_has_the_key_joins_a_private_swarm(tmp_path: Path) -> None:
    key = tmp_path / "swarm.key"
    SwarmKey.generate().save(key)
    with running(configured(Home(tmp_path / "member"), key)) as address:
        newcomer = configured(Home(tmp_path / "newcomer"), key)
        done = paris_peer("status", "-b", address, "--home", str(newcomer.path))
        assert done.returncode == 0 and "(online)" in done.stdout, done.stderr

        done = paris_peer("status", "-b", address, "--home", str(tmp_path / "keyless"))
        assert done.returncode == 5
        assert done.stderr == ("error: this swarm is private. Give its key with --swarm-key-file\n")


def test_a_swarm_key_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = paris_peer(
        "start", "--swarm-key-file", str(tmp_path / "none.key"), "--home", str(tmp_path / "home")
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot read the swarm key")
    assert len(done.stderr.splitlines()) == 1
