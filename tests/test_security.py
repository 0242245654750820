"""What SECURITY.md promises is tested where it says."""

from __future__ import annotations

import re
from pathlib import Path

from paris_p2p.api.host import LOG_BYTES
from paris_p2p.backup import MOST_MEMORY
from paris_p2p.network.search import MAX_ASKED
from paris_p2p.network.shelf import LAPSE, Allowance
from paris_p2p.network.swarm import MAX_OWNERS
from tests.fuzz.target import SLOW
from tests.fuzz.test_fuzz import INPUTS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text()
PROMISES = re.search(r"## What is defended.*?(?=\n## )", PAGE, re.DOTALL)


def test_every_test_it_names_exists() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", PAGE))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_every_promise_names_a_test() -> None:
    assert PROMISES is not None
    promises = re.split(r"\n(?=\*\*)", PROMISES.group())[1:]
    assert [promise[:60] for promise in promises if "`tests/" not in promise] == []


def test_its_figures_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"A key holds {MAX_OWNERS} owners" in text
    assert f"a node {Allowance().total_records // 1000} 000 records" in text
    assert LAPSE == 5 * 60 and "for five minutes" in text
    assert f"A search asks {MAX_ASKED} at most" in text
    assert f"takes {MOST_MEMORY >> 20} MiB at most" in text
    assert f"The log keeps {2 * LOG_BYTES >> 20} MiB" in text
    assert f"take {SLOW:g} s of processor time" in text
    assert INPUTS == 3000 and "the test suite three thousand" in text
