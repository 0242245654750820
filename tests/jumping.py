"""The clock that jumps, for the `conftest.py` of every folder whose tests live on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from simulator.clock import JumpingLoop

LONGEST = 6 * 3600.0
"""Seconds of a test's own time after which it will not end."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of a test."""
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.SelectorEventLoop}
    return {"jumping": partial(JumpingLoop, LONGEST)}
