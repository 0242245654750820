"""What this machine gives to training, for the choice of a slot that fits it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from paris_p2p.peer.doctor.machine_probes import available_memory, training_devices
from paris_p2p.records.device_fit import Device

GRAPHICS = (Path("/dev/nvidia0"), Path("/dev/dxg"))
"""There where a driver for CUDA is: on Linux, and in Windows' Linux. Else nobody asks torch, which
takes seconds to load."""


def training_device() -> Device | None:
    """The device that a training process would take now; None when it cannot be measured. Blocks.

    Its speed is not measured: that would be training.
    """
    memory = _graphics_memory() or available_memory()
    return Device(memory) if memory is not None else None


@cache
def _graphics_memory() -> int:
    """Bytes of the first CUDA device; 0 where there is none."""
    if not any(driver.exists() for driver in GRAPHICS):
        return 0
    found = training_devices()
    return 0 if isinstance(found, str) or not found else found[0][1]
