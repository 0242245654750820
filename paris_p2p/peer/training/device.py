"""The device that this machine trains on, for the choice of a slot that fits it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from paris_p2p.peer.doctor.machine_probes import available_memory, training_devices
from paris_p2p.records.device_fit import Device

GRAPHICS = (Path("/dev/nvidia0"), Path("/dev/dxg"))
"""Device files of the CUDA drivers on Linux and on WSL. Without one, torch is not asked: it takes
seconds to load."""


def training_device() -> Device | None:
    """The device that a training process would use now; None if it cannot be measured. Blocks.

    Its speed is not measured, since that would need training.
    """
    memory = _graphics_memory() or available_memory()
    return Device(memory) if memory is not None else None


@cache
def _graphics_memory() -> int:
    """Bytes of memory of the first CUDA device; 0 if there is none."""
    if not any(driver.exists() for driver in GRAPHICS):
        return 0
    found = training_devices()
    return 0 if isinstance(found, str) or not found else found[0][1]
