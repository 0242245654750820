"""Presets for volunteers, and swarms of real processes for demos and tests.

- `*.toml`        config files to copy into a home
- `local_swarm`   real `paris-peer` processes on loopback, started, watched, killed
- `demo`          the whole story in minutes: `make demo`
- `testbed/`      real peers on a small internet of public hosts and routers
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout. Its packages are not installed, so child processes get this path."""
