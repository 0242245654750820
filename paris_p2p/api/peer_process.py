"""A peer process: the home's lock, the swarm, the peer, and its API until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TypeVar

import uvicorn

from paris_p2p.api.bootstrap import BootstrapApi
from paris_p2p.api.connections import BACKLOG, Connection
from paris_p2p.api.server import Api
from paris_p2p.config import PeerConfig
from paris_p2p.errors import DiskFull, NotAvailable, PortInUse
from paris_p2p.files import room_for, write_atomically
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network import open_files
from paris_p2p.network.hivemind_swarm import HivemindSwarm
from paris_p2p.network.swarm import Swarm
from paris_p2p.network.swarm_key import SwarmKey
from paris_p2p.network.tasks import end_tasks
from paris_p2p.peer.bootstrap import Bootstrap, running_bootstrap
from paris_p2p.peer.last_session import (
    read_known_peers,
    read_port,
    read_reach,
    remember_port,
    remember_reach,
)
from paris_p2p.peer.life import running_node
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.node import Node
from paris_p2p.peer.shipped_run import ShippedRun, load_shipped_run
from paris_p2p.peer.training.unattended import Tell, volunteering

LOG_BYTES = 8 << 20
GRACE = 5
"""Seconds that open requests have to end when the peer stops."""

OnReady = Callable[[Node[Membership]], None]
A = TypeVar("A", Api, BootstrapApi)


async def host_peer(
    home: Home,
    config: PeerConfig,
    stop: asyncio.Event,
    leave: asyncio.Event,
    on_ready: OnReady,
    *,
    seed: bool,
    replicate: bool,
    train: Tell | None = None,
) -> None:
    """Run this home's peer until `stop`, or until `leave` is set and no command uses it.

    Leases are released and records withdrawn at the end. With `train` it trains unattended, and
    `train` gets the events.

    Raises HomeBusy, PortInUse, Unreachable (no bootstrap answers), ClockSkew, NotAvailable.
    """
    key = _swarm_key(config)
    async with (
        _joined(home, config, require_contact=bool(config.bootstrap)) as (
            identity,
            swarm,
            listener,
        ),
        running_node(
            home,
            identity,
            swarm,
            config,
            _shipped_run(),
            seed=seed,
            replicate=replicate,
            swarm_fingerprint=key.fingerprint() if key is not None else "",
        ) as node,
        _serving(home, swarm, lambda token: Api(node, token), listener) as api,
    ):
        on_ready(node)
        async with volunteering(node, api.jobs, train) if train else contextlib.nullcontext():
            await _until_told(stop, leave, api)


async def host_bootstrap(
    home: Home,
    config: PeerConfig,
    stop: asyncio.Event,
    on_ready: Callable[[Bootstrap], None],
) -> None:
    """Run this home's bootstrap until `stop`: a DHT node with no run, no store, no training.

    It announces its presence under the configured run, else under the shipped one.

    It starts even if none of its own bootstraps answers: they may be waiting for it.

    Raises HomeBusy, PortInUse.
    """
    shipped = _shipped_run()
    named = [bytes.fromhex(run_id) for run_id in config.run]
    run_id = named[0] if named else shipped.id if shipped else None
    async with (
        _joined(home, config, require_contact=False) as (identity, swarm, listener),
        running_bootstrap(home, identity, swarm, run_id) as bootstrap,
        _serving(home, swarm, lambda token: BootstrapApi(bootstrap, token), listener),
    ):
        on_ready(bootstrap)
        await stop.wait()


@contextlib.asynccontextmanager
async def _joined(
    home: Home, config: PeerConfig, *, require_contact: bool
) -> AsyncIterator[tuple[Identity, HivemindSwarm, socket.socket]]:
    """Lock this home and join the swarm: its identity, the swarm, and the API's socket."""
    open_files.allow_many()
    home.create()
    with home.lock(), _listening(config.api_port) as listener:
        home.api_file.unlink(missing_ok=True)
        _log_to(home)
        identity = _identity(home)
        swarm = await _join(home, config, identity, require_contact)
        try:
            yield identity, swarm, listener
        finally:
            try:
                with contextlib.suppress(DiskFull, OSError):
                    remember_reach(home, swarm.reachability().state)
            finally:
                await swarm.close()


async def _until_told(stop: asyncio.Event, leave: asyncio.Event, api: Api) -> None:
    async def left() -> None:
        await leave.wait()
        await api.unused()

    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(left())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(*ends)


async def _join(
    home: Home, config: PeerConfig, identity: Identity, require_contact: bool
) -> HivemindSwarm:
    """The swarm on the configured port, else the one used last time, else any free one."""
    key = _swarm_key(config)

    async def on(port: int) -> HivemindSwarm:
        return await HivemindSwarm.start(
            identity_file=home.identity_file,
            identity=identity,
            listen=config.listen,
            port=port,
            bootstrap=config.bootstrap,
            known=read_known_peers(home),
            announce=config.announce,
            relays=config.relay,
            serve_relay=config.serve_relay,
            upnp=config.upnp,
            was=read_reach(home),
            require_contact=require_contact,
            swarm_key=key,
        )

    if config.port:
        return await on(config.port)
    try:
        swarm = await on(read_port(home))
    except PortInUse:
        swarm = await on(0)
    with contextlib.suppress(DiskFull, OSError):
        remember_port(home, swarm.port)
    return swarm


def _swarm_key(config: PeerConfig) -> SwarmKey | None:
    return SwarmKey.load(Path(config.swarm_key_file)) if config.swarm_key_file else None


@contextlib.asynccontextmanager
async def _serving(
    home: Home, swarm: Swarm, make: Callable[[str], A], listener: socket.socket
) -> AsyncIterator[A]:
    """Serve the API that `make` makes for a token, on `listener`.

    Meanwhile its address and token are in the home's API file (mode 0600).
    """
    token = secrets.token_urlsafe(32)
    api = make(token)
    server = _Server(
        uvicorn.Config(
            api.app,
            log_config=None,
            lifespan="off",
            access_log=False,
            timeout_graceful_shutdown=GRACE,
            http=Connection,
            ws="none",
            backlog=BACKLOG,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.accepting(serving)
    card = {
        "url": f"http://127.0.0.1:{listener.getsockname()[1]}",
        "token": token,
        "pid": os.getpid(),
        "addresses": swarm.addresses(),
    }
    write_atomically(home.api_file, json.dumps(card).encode())
    try:
        yield api
    finally:
        home.api_file.unlink(missing_ok=True)
        await api.close()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers: the peer decides when it ends."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._started = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started.set()

    async def accepting(self, serving: asyncio.Task[None]) -> None:
        """Wait until connections are accepted. Raises the error of `serving`, if it failed."""
        started = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(started)
        if serving.done():
            serving.result()


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(BACKLOG)
        except OSError as error:
            raise PortInUse(
                f"the API port {port} is taken", "choose another with --api-port, or 0 for any"
            ) from error
        yield listener


def _identity(home: Home) -> Identity:
    """This home's key, made at its first start."""
    if home.identity_file.exists():
        return Identity.load(home.identity_file)
    identity = Identity.generate()
    identity.save(home.identity_file)
    return identity


def _shipped_run() -> ShippedRun | None:
    try:
        return load_shipped_run()
    except NotAvailable:
        return None


class _LogFile(RotatingFileHandler):
    """A log that drops records when the disk is full, without a word on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the record."""


def _log_to(home: Home) -> None:
    """Log to the home's log file: LOG_BYTES, and as much in one older file.

    Strangers' acts are logged too, so the log must stay bounded.
    """
    with room_for(home.log_file):
        file = _LogFile(home.log_file, maxBytes=LOG_BYTES, backupCount=1)
    logging.basicConfig(
        handlers=[file],
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for chatty in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
