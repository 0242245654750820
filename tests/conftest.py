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
    """Chaos first, for it mostly waits; then the files with the most tests, so that none is last
    that would leave a worker idle for long."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: ("chaos" not in item.path.parts, -sizes[item.path]))
