"""What torch can train on, told as JSON by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from paris_p2p.training.devices import accelerators

pytestmark = pytest.mark.process


def test_devices_are_a_json_list_of_names_and_bytes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paris_p2p.training.devices"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [list(device) for device in accelerators()]
