"""The p2pd process: its start, its end, and its cleanup.

Its sockets lie in a private folder (`socket_folder.py`). Every start removes the folders of
processes that were killed.
"""

from __future__ import annotations

import asyncio
import enum
import os
import sys
import time
from contextlib import suppress
from typing import Any

from paris_p2p.errors import ParisError, PortInUse
from paris_p2p.network.dht.light_hivemind import P2P, P2PDaemonError
from paris_p2p.network.p2pd import socket_folder
from paris_p2p.network.p2pd.listening import ListenConfig
from paris_p2p.network.p2pd.socket_folder import SocketFolder

START_TIMEOUT = 15.0

REACHABILITY = {
    "public": {"forceReachabilityPublic": 1},
    "private": {"forceReachabilityPrivate": 1, "relayDiscovery": 0},
}
"""hivemind's table of p2pd's options, with relays left to `reach/relays.py`."""

_IN_ITS_OWN_SESSION = "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"

DAEMON_ERRORS = (P2PDaemonError, OSError, EOFError, TimeoutError)
"""hivemind's errors when p2pd is dead, busy, or could not reach the remote."""


class Mode(enum.StrEnum):
    """The mode of a p2pd. It cannot change while p2pd runs."""

    RELAY = "relay"
    """For a peer that can be dialled: relays others, up to 4 GiB and 30 minutes a connection."""
    PUNCH = "punch"
    """For one that cannot: turns relayed connections into direct ones if possible."""
    PLAIN = "plain"
    """For one that does not know yet, or can be dialled but relays nobody."""


async def launch(listen_config: ListenConfig, mode: Mode) -> tuple[Any, SocketFolder]:
    """A new p2pd, as hivemind's object, and the folder of its sockets. Raises `ParisError`.

    p2pd never gets bootstrap peers: a dead one makes it exit or block. It has one thread for Go
    code. With more, its two relay services race, and the wrong one cuts connections off after
    128 KiB.

    A cancellation leaves no p2pd behind. With hivemind alone it would: hivemind returns p2pd only
    once it answers, and its `asyncio.wait_for` loses, before Python 3.12, a cancellation that comes
    together with the answer.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelled_before = task.cancelling()
    socket_folder.sweep(time.time())
    os.environ.setdefault("GOMAXPROCS", "1")
    folder = SocketFolder()
    begun: list[Any] = []

    class PrivateP2P(P2P):  # type: ignore[misc]
        _UNIX_SOCKET_PREFIX = f"/unix{folder.path}/"
        FORCE_REACHABILITY_MAPPING = REACHABILITY

        def __init__(self) -> None:
            super().__init__()
            begun.append(self)

        @staticmethod
        def _make_process_args(*args: Any, **options: Any) -> list[str]:
            """Run p2pd in its own session, so that signals to our process group, as when a terminal
            closes, do not reach it: we need it to leave the swarm. It ends when we do."""
            command: list[str] = P2P._make_process_args(*args, **options)
            return [sys.executable, "-I", "-S", "-c", _IN_ITS_OWN_SESSION, *command]

    try:
        async with asyncio.timeout(START_TIMEOUT):
            p2p = await PrivateP2P.create(
                identity_path=str(listen_config.identity_file),
                check_if_identity_free=False,
                host_maddrs=[listen_config.transport],
                announce_maddrs=list(listen_config.announce) or None,
                nat_port_map=listen_config.upnp,
                **_options(mode, listen_config),
            )
            if task.cancelling() > cancelled_before:
                raise asyncio.CancelledError
    except BaseException as error:
        for p2p in begun:
            end_now(p2p, folder)
        folder.remove()
        if isinstance(error, DAEMON_ERRORS):
            raise _why_not_started(error, listen_config.transport) from error
        raise
    return p2p, folder


def _options(mode: Mode, listen_config: ListenConfig) -> dict[str, Any]:
    """p2pd's options for a mode.

    p2pd hides our router's outside address only while it looks for relays. Otherwise others dial
    that address in vain, and the routers' memory of such a dial makes the next hole punching fail.
    So p2pd looks for relays, but may try only one: itself. With UPnP our router may forward that
    address to us, so others have to know it.
    """
    if mode is Mode.RELAY:
        return {"force_reachability": "public", "auto_nat": False}
    options: dict[str, Any] = {"force_reachability": "private", "auto_nat": True}
    if mode is Mode.PUNCH and not listen_config.upnp:
        itself = f"{listen_config.transport}/p2p/{listen_config.identity.peer_id}"
        options |= {"use_auto_relay": True, "trusted_relays": [itself]}
    return options


def end_now(p2p: Any, folder: SocketFolder) -> None:
    """Kill p2pd if it still runs, and remove its sockets. Does not wait for its end."""
    p2p._terminate()
    if p2p._reader_task is not None:
        p2p._reader_task.add_done_callback(hear_out)
    if p2p._child is not None:
        with suppress(ProcessLookupError):
            p2p._child._transport.close()  # kills, and closes the pipes, which hivemind leaves open
    folder.remove()


def hear_out(task: asyncio.Task[None]) -> None:
    """Retrieve the error of a hivemind task, so that asyncio does not complain on the terminal."""
    if not task.cancelled():
        task.exception()


def _why_not_started(error: Exception, listen: str) -> ParisError:
    reason = str(error) or f"it did not answer within {START_TIMEOUT:.0f} s"
    if "address already in use" in reason:
        return PortInUse(f"the address {listen} is taken", "Choose another --port")
    return ParisError(f"libp2p did not start on {listen}: {reason[:300]}")
