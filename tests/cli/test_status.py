from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.api import client
from paris_p2p.cli.status import replication_line, status
from paris_p2p.peer.report import status_report
from tests.peer.worlds import PeerWorld


@pytest.mark.parametrize(
    ("none", "single", "below", "line"),
    [
        (0, 0, 0, "all 9 contents have 3 providers or more"),
        (0, 3, 3, "3 contents have a single provider; 3 contents have fewer than 3 providers"),
        (0, 0, 1, "1 content has fewer than 3 providers"),
        (
            1,
            1,
            4,
            "1 content has no provider; 1 content has a single provider; "
            "4 contents have fewer than 3 providers",
        ),
    ],
)
def test_what_has_too_few_providers_is_told_the_worst_first(
    none: int, single: int, below: int, line: str
) -> None:
    row = {
        "replicas": 3,
        "contents": 9,
        "without_provider": none,
        "single_provider": single,
        "below_replicas": below,
    }
    assert replication_line(row) == line


class Told:
    """In a client's place: the report it would get."""

    def __init__(self, report: dict[str, Any]) -> None:
        self._report = report

    def get(self, path: str) -> dict[str, Any]:
        return self._report


async def test_what_strangers_call_themselves_is_printed_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words in brackets are markup to rich: they could end the command or look like our own."""
    peer = await PeerWorld(tmp_path).join()
    report = {**await status_report(peer), "jobs": []}
    report["run"]["name"] = "[/]run"
    row = {"id": "12D3Koo", "role": "peer", "agent": "[red]x[/y]", "addresses": ["[link=http://a]"]}
    report["peers"] = [row]

    @contextmanager
    def connected(*_: object) -> Iterator[Told]:
        yield Told(report)

    monkeypatch.setattr(client, "connected", connected)
    status(home=tmp_path)
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("[/]run", "[red]x[/y]", "[link=http://a]"))
