"""Commands on a home whose peer is suspended: one line that says so, within seconds."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from paris_p2p import cli
from paris_p2p.api import calling
from paris_p2p.errors import Unreachable
from paris_p2p.home import Home
from tests.cli.test_contributions import running

pytestmark = pytest.mark.process


def test_a_suspended_peer_is_named_and_how_to_wake_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calling, "PING_PATIENCE", 0.5)
    home = Home(tmp_path)
    with running(home):
        peer = home.holder()
        assert peer
        os.kill(peer, signal.SIGSTOP)
        try:
            for command in ("status", "doctor"):
                with pytest.raises(SystemExit) as ended:
                    cli.main([command, "--home", str(home.path)])
                assert ended.value.code == Unreachable.exit_code
                (line,) = capsys.readouterr().err.splitlines()
                assert f"process {peer}, does not answer" in line
                assert f"kill -CONT {peer}" in line
        finally:
            os.kill(peer, signal.SIGCONT)
