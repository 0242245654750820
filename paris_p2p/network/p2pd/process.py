"""The p2pd process: how it is started, how it is ended, and what it must not leave behind.

Its sockets live in a private folder (`socket_folder.py`). Folders of processes that were killed are
swept away by the next one that starts.
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
"""hivemind's table of p2pd's options, with relays left to `relays.py`."""

_IN_ITS_OWN_SESSION = "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"

DAEMON_ERRORS = (P2PDaemonError, OSError, EOFError, TimeoutError)
"""What hivemind raises when p2pd is dead, busy, or could not reach the remote."""


class Mode(enum.StrEnum):
    """What p2pd is made for. It cannot be changed while it runs."""

    RELAY = "relay"
    """For who can be dialled: others are relayed, up to 4 GiB and 30 minutes a connection."""
    PUNCH = "punch"
    """For who cannot: connections over a relay are turned into direct ones where possible."""
    PLAIN = "plain"
    """For who does not know yet, and for who can be dialled but relays nobody."""


async def launch(listen_config: ListenConfig, mode: Mode) -> tuple[Any, SocketFolder]:
    """A new p2pd, as hivemind sees it, and the folder of its sockets. Raises `ParisError`.

    Bootstrap peers are never handed to p2pd: a dead one makes it exit or block. It has one
    thread for Go code: with more, which of its two relay services answers is a race, and the
    wrong one cuts connections off after 128 KiB.

    Whoever is cancelled in here leaves nothing behind. hivemind alone would: it hands p2pd over
    only once that answers, and the `asyncio.wait_for` in it loses, before Python 3.12, a
    cancellation that comes together with the answer.
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
            """What is told to our whole process group, as when a terminal closes, is for us to
            hear: p2pd is needed until we have said goodbye. It ends when we do: nobody is left to
            speak to it."""
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
    """What a mode is to p2pd.

    p2pd keeps the address that our router has outside to itself only while it looks for relays.
    Else others dial it in vain, and what routers remember of such a dial spoils the hole that is
    punched next. So it may look for relays, and try but one: itself. With UPnP our router may
    forward that address to us, and then others have to know it.
    """
    if mode is Mode.RELAY:
        return {"force_reachability": "public", "auto_nat": False}
    options: dict[str, Any] = {"force_reachability": "private", "auto_nat": True}
    if mode is Mode.PUNCH and not listen_config.upnp:
        itself = f"{listen_config.transport}/p2p/{listen_config.identity.peer_id}"
        options |= {"use_auto_relay": True, "trusted_relays": [itself]}
    return options


def end_now(p2p: Any, folder: SocketFolder) -> None:
    """Kill p2pd if it still runs, and remove its sockets. Does not wait for it to be gone."""
    p2p._terminate()
    if p2p._reader_task is not None:
        p2p._reader_task.add_done_callback(hear_out)
    if p2p._child is not None:
        with suppress(ProcessLookupError):
            p2p._child._transport.close()  # kills, and closes the pipes, which hivemind leaves open
    folder.remove()


def hear_out(task: asyncio.Task[None]) -> None:
    """Take note of how a task of hivemind's ended, lest asyncio complain on the terminal."""
    if not task.cancelled():
        task.exception()


def _why_not_started(error: Exception, listen: str) -> ParisError:
    reason = str(error) or f"it did not answer within {START_TIMEOUT:.0f} s"
    if "address already in use" in reason:
        return PortInUse(f"the address {listen} is taken", "Choose another --port")
    return ParisError(f"libp2p did not start on {listen}: {reason[:300]}")
