"""How a Python process of this project is started: it runs no code from the folder it starts in.

`python -m` puts the working directory first on the module path, so a `random.py` in a folder that
anybody may write would run as whoever types a command there. A child therefore gets `-P`, a working
directory that its parent chooses, and a PYTHONPATH that means there what it means here.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

LASTING_FOLDER = Path("/")
"""A working directory for what needs none: it exists as long as the machine runs."""


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs `module`, which PYTHONPATH or the installation must provide."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(*roots: Path) -> dict[str, str]:
    """This process's environment for a child; modules are looked for in `roots` first."""
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    path = [str(root) for root in roots]
    for entry in named:
        with suppress(FileNotFoundError):  # a relative one, and the folder we are in is gone
            path.append(str(Path(entry).absolute()))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
