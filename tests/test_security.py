"""What SECURITY.md promises is tested by the attacks that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paris_p2p.api.peer_process import LOG_BYTES
from paris_p2p.network.dht.record_store import LAPSE, Allowance
from paris_p2p.network.dht.search import MAX_ASKED
from paris_p2p.network.swarm import MAX_OWNERS
from tests.fuzz.target import SLOW
from tests.fuzz.test_fuzz import INPUTS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text()
PROMISES = PAGE[PAGE.index("## What is defended") : PAGE.index("## What cannot")]


def test_every_attack_it_names_is_a_test_that_runs(request: pytest.FixtureRequest) -> None:
    """Of files that this session has not collected, only that the test stands in them."""
    named = set(re.findall(r"`(tests/[^`]+)`", PROMISES))
    assert len(named) > 60
    collected, running = set[str](), set[str]()
    for item in request.session.items:
        file, _, test = item.nodeid.partition("[")[0].partition("::")
        collected.add(file)
        if not any(map(item.get_closest_marker, ("skip", "xfail"))):
            running.add(f"{file}::{test.rpartition('::')[2]}")
    assert [name for name in sorted(named) if not _runs(name, collected, running)] == []


def test_every_promise_names_an_attack() -> None:
    promises = re.split(r"\n(?=\*\*)", PROMISES)[1:]
    assert [promise[:60] for promise in promises if not re.search(r"`tests/\S+::", promise)] == []


def _runs(name: str, collected: set[str], running: set[str]) -> bool:
    file, _, test = name.partition("::")
    if file in collected:
        return name in running
    return re.search(rf"^\s*(async )?def {test}\(", (ROOT / file).read_text(), re.M) is not None


def test_its_figures_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"A key holds {MAX_OWNERS} owners" in text
    assert f"a node {Allowance().total_records // 1000} 000 records" in text
    assert LAPSE == 5 * 60 and "for five minutes" in text
    assert f"A search asks {MAX_ASKED} at most" in text
    assert f"The log keeps {2 * LOG_BYTES >> 20} MiB" in text
    assert f"take {SLOW:g} s of processor time" in text
    assert INPUTS == 3000 and "the test suite three thousand" in text
