"""Whenever starting p2pd is broken off, no process and no socket is left."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from paris_p2p.errors import ParisError
from paris_p2p.identity import Identity
from paris_p2p.network.dht.light_hivemind import P2P
from paris_p2p.network.p2pd.listening import ListenConfig, choose_port
from paris_p2p.network.p2pd.process import Mode, end_now, launch
from paris_p2p.network.p2pd.socket_folder import PREFIX
from tests.network.worlds import eventually

pytestmark = pytest.mark.asyncio


def place_in(folder: Path) -> ListenConfig:
    identity = Identity.generate()
    identity.save(folder / "key")
    port = choose_port("127.0.0.1", 0)
    return ListenConfig(folder / "key", identity, "127.0.0.1", port, (), inactivity=10.0)


def daemons_of(place: ListenConfig) -> list[psutil.Process]:
    """The p2pd processes that have been started with this key."""
    children = psutil.Process().children()
    return [child for child in children if any(str(place.identity_file) in a for a in argv(child))]


def argv(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def has_folder(place: ListenConfig, folder: Path) -> bool:
    return bool(list(folder.glob(f"{PREFIX}{os.getpid()}-*")))


def has_process(place: ListenConfig, folder: Path) -> bool:
    return bool(daemons_of(place))


def has_socket(place: ListenConfig, folder: Path) -> bool:
    return bool(list(folder.glob(f"{PREFIX}*/p2pd-*.sock")))


@pytest.mark.parametrize("moment", [has_folder, has_process, has_socket])
async def test_a_start_that_is_broken_off_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: Callable[[ListenConfig, Path], bool],
) -> None:
    async def never_answers(self: P2P) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(P2P, "_ping_daemon", never_answers)
    place = place_in(tmp_path)
    with tempfile.TemporaryDirectory(prefix="paris-test-") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        starting = asyncio.create_task(launch(place, Mode.PUNCH))
        await eventually(lambda: moment(place, Path(short)))
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not list(Path(short).iterdir())
    await eventually(lambda: not daemons_of(place))


async def test_a_cancellation_that_hivemind_loses_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinged = asyncio.Event()

    async def answers_when_cancelled(self: P2P) -> None:
        pinged.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(P2P, "_ping_daemon", answers_when_cancelled)
    place = place_in(tmp_path)
    starting = asyncio.create_task(launch(place, Mode.PUNCH))
    await pinged.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await eventually(lambda: not daemons_of(place))


async def test_a_signal_to_our_whole_process_group_is_not_for_p2pd(tmp_path: Path) -> None:
    """As when a terminal closes: p2pd is needed until the peer has said goodbye."""
    p2p, folder = await launch(place_in(tmp_path), Mode.PLAIN)
    try:
        assert os.getsid(p2p._child.pid) != os.getsid(0)
        assert os.getpgid(p2p._child.pid) != os.getpgid(0)
    finally:
        end_now(p2p, folder)
        await p2p._child.wait()


async def test_no_room_for_sockets_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of this kind is one that a peer tries again after."""
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/missing-{os.getpid()}")
    with pytest.raises(ParisError, match="sockets"):
        await launch(place_in(tmp_path), Mode.PUNCH)
