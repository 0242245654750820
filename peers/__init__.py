"""What a volunteer needs: presets, and a local swarm of real processes for demos and tests.

- `*.toml`        config files to copy into a home
- `local_swarm`   real `paris-peer` processes on loopback, started, watched, killed
- `demo`          the whole story in minutes: `make demo`
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: its packages are not installed, so their processes are told where it lies."""
