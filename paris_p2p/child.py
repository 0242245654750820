"""Starting Python processes of this project, which run no code from the folder they start in.

`python -m` puts the working directory first on the module path. A `random.py` in a folder that
anybody may write would then run with the rights of the user who types a command there. So a child
gets `-P`, a working directory that its parent chooses, and a PYTHONPATH with absolute entries.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

LASTING_FOLDER = Path("/")
"""A working directory for processes that need none: it always exists."""


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs `module`, which PYTHONPATH or the installation must provide."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(*roots: Path) -> dict[str, str]:
    """This process's environment for a child, which looks for modules in `roots` first."""
    named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    path = [str(root) for root in roots]
    for entry in named:
        with suppress(FileNotFoundError):  # a relative entry, and this folder is gone
            path.append(str(Path(entry).absolute()))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
