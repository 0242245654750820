"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they are done. Their errors are ignored.

    One cancellation is not enough: before Python 3.12 `asyncio.wait_for`, which hivemind uses,
    swallows one that arrives together with the result it waits for.
    """
    while running := {task for task in tasks if not task.done()}:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=0.2)


async def finished(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that must not be left half-done. A cancellation takes effect at its end."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task])
