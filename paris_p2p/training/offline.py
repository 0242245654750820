"""Isolation by construction: an audit hook that cuts Python code off from the network.

Python reports every use of a socket to its audit hooks (PEP 578), and a hook cannot be removed. The
hook guards against the libraries in use, not against hostile native code. It guards a process that
reads data and weights that were checked before, and runs no code from strangers.
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
    """Code in this process tried to reach the network."""


def forbid_network() -> None:
    """Make every later use of a socket in this process fail with NetworkForbiddenError."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # Hub encoders come only from the local cache.
    sys.addaudithook(_refuse)


def _refuse(event: str, _arguments: object) -> None:
    if event in FORBIDDEN:
        raise NetworkForbiddenError(
            f"this process is offline by design, but something called {event}"
        )
