"""What torch can train on, told as JSON by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys


def test_devices_are_a_json_list_of_names_and_bytes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paris_p2p.training.devices"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(isinstance(name, str) and memory >= 0 for name, memory in json.loads(done.stdout))
