"""Built networks, kept for the next prompt within a share of this machine's memory."""

from __future__ import annotations

import os
from collections.abc import Hashable
from itertools import chain
from typing import Final

from torch import nn

SHARE: Final = 0.25
"""Of this machine's memory: training and other programs need the rest."""


class Networks:
    """Networks by key. Beyond `most` bytes, the least recently used are dropped."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._kept: dict[Hashable, nn.Module] = {}

    def get(self, key: Hashable) -> nn.Module | None:
        network = self._kept.pop(key, None)
        if network is not None:
            self._kept[key] = network
        return network

    def keep(self, key: Hashable, network: nn.Module) -> None:
        self._kept.pop(key, None)
        self._kept[key] = network
        while self._kept and sum(map(size_of, self._kept.values())) > self._most:
            del self._kept[next(iter(self._kept))]

    def drop(self, key: Hashable) -> None:
        self._kept.pop(key, None)

    def clear(self) -> None:
        self._kept.clear()


def size_of(network: nn.Module) -> int:
    """Bytes of a network's weights."""
    tensors = chain(network.parameters(), network.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def machine_share() -> float:
    """Bytes that kept networks may take on this machine."""
    return SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
