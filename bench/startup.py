"""Seconds to help, to status, to a joined peer; memory of an idle peer: `python -m bench.startup`.

For comparison, an ordinary `import hivemind` runs in a fresh interpreter, in turn with these.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from peers.local_swarm import COMMAND, local_swarm

REPEATS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, local_swarm(Path(folder)) as swarm:
        swarm.start("first", (), "--no-seed-shipped-run")
        door = swarm.address("first")
        home = str(swarm.home("first"))
        help_time = median(lambda: quiet(*COMMAND, "--help"))
        status_time = median(lambda: quiet(*COMMAND, "status", "--home", home))
        joins = []
        for number in range(REPEATS):
            began = time.perf_counter()
            swarm.start(f"peer-{number}", [door])
            joins.append(time.perf_counter() - began)
            swarm.stop(f"peer-{number}")
        stock_time = median(lambda: quiet(sys.executable, "-c", "import hivemind"))
        memory = psutil.Process(swarm.peers["first"].popen.pid).memory_info().rss
    print(f"paris-peer --help      {help_time:6.2f} s")
    print(f"paris-peer status      {status_time:6.2f} s")
    print(f"start, until joined    {statistics.median(joins):6.2f} s")
    print(f"import hivemind alone  {stock_time:6.2f} s")
    print(f"peer process, idle     {memory / 2**20:6.0f} MiB")


def median(action: Callable[[], None]) -> float:
    """Median seconds of REPEATS runs, after one that warms the disk cache."""
    action()
    return statistics.median(seconds(action) for _ in range(REPEATS))


def seconds(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def quiet(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
