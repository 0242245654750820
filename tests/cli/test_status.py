from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from paris_p2p.api import client
from paris_p2p.cli.status import replication_line, status
from paris_p2p.peer.report import status_report
from tests.peer.worlds import PeerWorld, head_of


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
    report = await status_report(peer.node, [peer])
    (run,) = report["runs"]
    run |= {"name": "[/]run", "jobs": []}
    row = {"id": "12D3Koo", "role": "peer", "agent": "[red]x[/y]", "addresses": ["[link=http://a]"]}
    run["peers"] = [row]

    printed = _printed(report, tmp_path, monkeypatch, capsys)
    assert all(text in printed for text in ("[/]run", "[red]x[/y]", "[link=http://a]"))


async def test_what_was_refused_is_told_with_its_author_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = PeerWorld(tmp_path)
    honest, liar = await world.join(), await world.join()
    head = head_of(liar, 0, step=7)
    honest.heads.add(head.seal(liar.node.identity))
    await honest.condemn(head, "its weights are not finite")
    honest.node.refusals.note(liar.node.identity.author, "provider", "it sent other bytes")
    report = await status_report(honest.node, [honest])
    report["runs"][0]["jobs"] = []

    told = {(row["by"], row["condemned"]) for row in report["refused"]}
    assert told == {(liar.node.identity.peer_id, False), (liar.node.identity.peer_id, True)}
    printed = _printed(report, tmp_path, monkeypatch, capsys)
    for text in (
        "its weights are not finite",
        "it sent other bytes",
        liar.node.identity.peer_id[-8:],
    ):
        assert text in printed


def _printed(
    report: dict[str, Any],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """What the command says of a report."""

    @contextmanager
    def connected(*_: object) -> Iterator[Told]:
        yield Told(report)

    monkeypatch.setattr(client, "connected", connected)
    status(home=home)
    return capsys.readouterr().out
