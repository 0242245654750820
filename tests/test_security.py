"""What SECURITY.md promises is tested by the attacks that it names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from paris_p2p.api.host import LOG_BYTES
from paris_p2p.network.dht.record_store import LAPSE, Allowance
from paris_p2p.network.dht.search import MAX_ASKED
from paris_p2p.network.swarm import MAX_OWNERS
from tests.fuzz.target import SLOW
from tests.fuzz.test_fuzz import INPUTS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text()
COLLECT = """
import sys
import pytest

class WithoutTheSkipped:
    def pytest_collection_modifyitems(self, items):
        skipped = ("skip", "xfail")
        items[:] = [item for item in items if not any(map(item.get_closest_marker, skipped))]

sys.exit(pytest.main(["--collect-only", *sys.argv[1:]], plugins=[WithoutTheSkipped()]))
"""
PROMISES = PAGE[PAGE.index("## What is defended") : PAGE.index("## What cannot")]


@pytest.mark.slow
@pytest.mark.process
def test_every_attack_it_names_is_a_test_that_runs() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", PROMISES))
    assert len(named) > 60
    assert sorted(named - _that_run({name.partition("::")[0] for name in named})) == []


def test_every_promise_names_an_attack() -> None:
    promises = re.split(r"\n(?=\*\*)", PROMISES)[1:]
    assert [promise[:60] for promise in promises if not re.search(r"`tests/\S+::", promise)] == []


def _that_run(files: set[str]) -> set[str]:
    """The tests that pytest collects from some files and that are not marked to be skipped."""
    collected = subprocess.run(
        [sys.executable, "-c", COLLECT, *sorted(files)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    ids = (line.partition("[")[0] for line in collected.stdout.splitlines())
    return {re.sub("::.*::", "::", name) for name in ids}


def test_its_figures_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"A key holds {MAX_OWNERS} owners" in text
    assert f"a node {Allowance().total_records // 1000} 000 records" in text
    assert LAPSE == 5 * 60 and "for five minutes" in text
    assert f"A search asks {MAX_ASKED} at most" in text
    assert f"The log keeps {2 * LOG_BYTES >> 20} MiB" in text
    assert f"take {SLOW:g} s of processor time" in text
    assert INPUTS == 3000 and "the test suite three thousand" in text
