"""The figures the README quotes, one command each: `python -m bench.NAME`.

- `startup`   seconds to help, to status, to a joined peer; memory of an idle peer
- `transfer`  speed of content between processes, beside libp2p, libtorrent and aria2
- `sampling`  seconds from a command to its picture
- `strategies` which strategy and guidance draw what was asked
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: its packages are not installed, so their processes are told where it lies."""
