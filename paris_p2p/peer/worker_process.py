"""Starting the processes that train and sample: in sessions of their own, with a log for errors."""

from __future__ import annotations

import asyncio
from pathlib import Path

from paris_p2p import child


async def spawn_worker(
    module: str, *arguments: str, log_file: Path, longest_line: int
) -> asyncio.subprocess.Process:
    """Start `module` in its own session, so that only this process gets Ctrl-C.

    Its standard input stays open while this process lives. `longest_line` is the most bytes that
    its standard output may hold without a line's end.
    """
    with log_file.open("ab") as words:
        return await asyncio.create_subprocess_exec(
            *child.command(module, *arguments),
            cwd=log_file.parent,
            env=child.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=words,
            limit=longest_line,
            start_new_session=True,
        )
