import json

import pytest

from paris_p2p.cli import output
from paris_p2p.cli.output import JsonLines, PlainLines, reporting


def test_json_lines_are_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(as_json=True) as reporter:
        reporter.say("for people", {"event": "claimed"})
        reporter.wait("label", 1, 2, {"event": "progress", "step": 1})
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == [
        "claimed",
        "progress",
    ]
    assert isinstance(reporter, JsonLines)


def test_a_wait_in_a_pipe_speaks_now_and_then_and_says_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(float(second) for second in range(100))
    monkeypatch.setattr(output.time, "monotonic", lambda: next(now))
    lines = PlainLines()
    for step in range(1, 12):
        lines.wait("training", step, 20, {"event": "progress"})
    assert capsys.readouterr().out.splitlines() == [
        "training  5%",
        "training  30%  0:12 left",
        "training  55%  0:08 left",
    ]


def test_a_wait_without_an_end_says_no_share(capsys: pytest.CaptureFixture[str]) -> None:
    PlainLines().wait("training", 3, None, {"event": "progress"})
    assert capsys.readouterr().out == "training\n"
