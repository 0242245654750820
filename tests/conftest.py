"""What every test needs of its process, and the processes that it starts inherit."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""The threads of torch fight for the cores, as pytest has a worker for each."""

signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""Under nohup it would be ignored, and tests end commands with it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: chaos, then those with slow tests, then those with many tests. So no worker
    is left alone with a long one."""
    sizes = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(
        key=lambda item: ("chaos" not in item.path.parts, item.path not in slow, -sizes[item.path])
    )
