"""hivemind's libp2p and DHT, imported without torch.

`import hivemind` also imports its training half: torch, optimizers, mixtures of experts. A peer
trains in another process, and a bootstrap never trains. So the three packages whose `__init__`
imports torch (`hivemind`, `hivemind.utils`, `hivemind.dht`) are placed in `sys.modules` without
running it, and their submodules are imported one by one. If hivemind has been imported before, it
is used as it is.

Measured on 2 cores, warm disk, in a process with nothing else:

    ordinary import   1.9-3.1 s     590 MiB
    this module       0.1-0.3 s      38 MiB

hivemind has no type information, so the names below are `Any` to a type checker. Only modules that
talk to p2pd or belong to the DHT import them.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

from paris_p2p.errors import ParisError


def _place_unrun(name: str, search: list[str] | None = None) -> ModuleType:
    """Put the package `name` into `sys.modules` without running its `__init__`."""
    spec = PathFinder.find_spec(name, search)
    if spec is None:
        raise ParisError(f"{name} is not installed", "Reinstall paris-p2p")
    package = module_from_spec(spec)
    sys.modules[name] = package
    return package


def _place_light_packages() -> None:
    """Place the three packages, with only the names that the submodules we use need."""
    root = _place_unrun("hivemind")
    utils = _place_unrun("hivemind.utils", list(root.__path__))
    _place_unrun("hivemind.dht", list(root.__path__))
    for module, names in {
        "logging": ["get_logger"],
        "serializer": ["MSGPackSerializer", "SerializerBase"],
        "timed_storage": [
            "DHTExpiration",
            "MAX_DHT_TIME_DISCREPANCY_SECONDS",
            "TimedStorage",
            "ValueWithExpiration",
            "get_dht_time",
        ],
    }.items():
        source = importlib.import_module(f"hivemind.utils.{module}")
        utils.__dict__.update({name: getattr(source, name) for name in names})


def _silence() -> None:
    """Keep log lines off users' terminals, unless they set HIVEMIND_LOGLEVEL.

    hivemind reads its level once, at import, passes it to p2pd, and writes to stderr by itself.
    With this, its records go to the application's log.
    """
    hivemind_logging: Any = importlib.import_module("hivemind.utils.logging")
    if "HIVEMIND_LOGLEVEL" not in os.environ:
        hivemind_logging.loglevel = "CRITICAL"
    hivemind_logging.use_hivemind_log_handler("nowhere")
    logging.getLogger("hivemind").setLevel(hivemind_logging.loglevel)


if "hivemind" not in sys.modules:
    _place_light_packages()
_silence()

from hivemind.dht.node import Blacklist, DHTNode  # noqa: E402
from hivemind.dht.protocol import DHTProtocol  # noqa: E402
from hivemind.dht.routing import DHTID, RoutingTable  # noqa: E402
from hivemind.p2p import P2P, P2PContext, P2PDaemonError, P2PHandlerError, PeerID  # noqa: E402
from hivemind.proto import dht_pb2  # noqa: E402
from hivemind.utils.multiaddr import Multiaddr  # noqa: E402

__all__ = [
    "DHTID",
    "P2P",
    "Blacklist",
    "DHTNode",
    "DHTProtocol",
    "Multiaddr",
    "P2PContext",
    "P2PDaemonError",
    "P2PHandlerError",
    "PeerID",
    "RoutingTable",
    "dht_pb2",
]
