"""What torch can train on besides the processor: `python -m paris_p2p.training.devices`.

Prints one JSON list of [name, bytes of memory]; 0 bytes where the memory is the processor's.
"""

from __future__ import annotations

import json


def accelerators() -> list[tuple[str, int]]:
    """Every CUDA device, and Apple's."""
    import torch

    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append((properties.name, int(properties.total_memory)))
    if torch.backends.mps.is_available():
        found.append(("Apple MPS", 0))
    return found


if __name__ == "__main__":
    print(json.dumps(accelerators()))
