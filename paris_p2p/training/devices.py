"""The devices besides the processor that torch can train on.

`python -m paris_p2p.training.devices` prints a JSON list of [name, bytes of memory]. 0 bytes means
that the device shares the processor's memory.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def accelerators() -> list[tuple[str, int]]:
    """Every CUDA device, and Apple's GPU."""
    import torch

    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append((properties.name, int(properties.total_memory)))
    if torch.backends.mps.is_available():
        found.append(("Apple MPS", 0))
    return found


def pick_device(wanted: str) -> torch.device:
    """The device `wanted`; "auto" is the GPU when there is one."""
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


if __name__ == "__main__":
    print(json.dumps(accelerators()))
