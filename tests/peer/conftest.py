"""The peers of these tests live on a clock that jumps: no test waits for what only takes time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from simulator.clock import JumpingLoop

LONGEST = 6 * 3600.0
"""Seconds of a test's own time after which it will not end."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], JumpingLoop]]:
    return {"jumping": partial(JumpingLoop, LONGEST)}
