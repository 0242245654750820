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
    spread evenly among those that compute, the few long stories first. Of the others the ones with
    most tests come first."""
    sizes = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    waiting = sorted(slow, key=lambda path: (sizes[path], path))
    computing = sorted(sizes.keys() - slow, key=lambda path: (-sizes[path], path))
    turns: dict[Path, float] = {}
    for files in (waiting, computing):
        turns |= {path: turn / len(files) for turn, path in enumerate(files)}
    items.sort(key=lambda item: ("chaos" not in item.path.parts, turns[item.path], item.path))
