"""hivemind without torch: what it saves, and that it keeps quiet."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

MEASURE = """
import sys
import paris_p2p.network.hivemind_swarm
[rss] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")]
print(int(rss) / 1024, *[name for name in ("torch", "numpy", "scipy") if name in sys.modules])
"""

AFTER_ANOTHER_IMPORT = """
import types, sys
import hivemind.utils.logging, hivemind.dht.node     # the ordinary way, torch and all
import paris_p2p.network.hivemind_swarm
from paris_p2p.network.dht import light_hivemind
assert light_hivemind.DHTNode is hivemind.dht.node.DHTNode
assert hivemind.DHT                                  # the full package is still there
"""


def run(script: str) -> str:
    environment = {name: value for name, value in os.environ.items() if "HIVEMIND" not in name}
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_node_comes_without_torch() -> None:
    mebibytes, *heavy = run(MEASURE).split()
    assert heavy == []
    assert float(mebibytes) < 100


@pytest.mark.slow
def test_an_ordinary_import_before_is_left_alone() -> None:
    assert run(AFTER_ANOTHER_IMPORT) == ""
