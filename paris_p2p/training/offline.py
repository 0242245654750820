"""Isolation by construction: once installed, Python code in this process cannot reach a network.

Python announces every use of a socket to its audit hooks (PEP 578), and a hook cannot be removed.
It guards against our own libraries, not against hostile native code: what is read here is data
and weights that were checked before, never code from a stranger.
"""

from __future__ import annotations

import os
import sys
from typing import Final

FORBIDDEN: Final = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
    }
)


class NetworkForbiddenError(PermissionError):
    """Something in this process tried to reach a network."""


def forbid_network() -> None:
    """Make every later socket use of this process fail with NetworkForbiddenError, for good."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # hub encoders come from the local cache or not at all
    sys.addaudithook(_refuse)


def _refuse(event: str, _arguments: object) -> None:
    if event in FORBIDDEN:
        raise NetworkForbiddenError(
            f"this process is offline by design, but something called {event}"
        )
