"""Commands that share a peer which one of them started."""

from __future__ import annotations

import threading
from pathlib import Path

from paris_p2p.api.client import connected, running_client
from paris_p2p.home import Home


def test_a_peer_started_for_one_command_stays_until_the_last_has_ended(tmp_path: Path) -> None:
    home = Home(tmp_path)
    attached, finish = threading.Event(), threading.Event()
    answers: list[str] = []

    def another_command() -> None:
        with connected(home, [], None) as client:
            attached.set()
            finish.wait(60)
            answers.append(client.run())

    other = threading.Thread(target=another_command)
    with connected(home, [], None):
        other.start()
        assert attached.wait(60)
        threading.Timer(2, finish.set).start()
    other.join(60)

    assert len(answers) == 1
    assert running_client(home) is None
