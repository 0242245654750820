"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they are done; what they raise is theirs to have logged.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which hivemind uses, swallows a
    cancellation that arrives together with the result it waits for.
    """
    while running := {task for task in tasks if not task.done()}:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=0.2)
