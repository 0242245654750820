"""What every test needs of its process, and the processes that it starts inherit."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""The threads of torch fight for the cores, as pytest has a worker for each."""

signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""Under nohup it would be ignored, and tests end commands with it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Chaos first, for it takes longest. Files with slow tests mostly wait for processes: they are
    spread evenly among those that compute. Of both kinds the ones with most tests come first."""
    sizes = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    turns: dict[Path, float] = {}
    for kind in (slow, sizes.keys() - slow):
        largest_first = sorted(kind, key=lambda path: (-sizes[path], path))
        turns |= {path: turn / len(kind) for turn, path in enumerate(largest_first)}
    items.sort(key=lambda item: ("chaos" not in item.path.parts, turns[item.path], item.path))
