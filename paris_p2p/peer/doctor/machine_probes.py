"""Measurements of this machine that need no peer. `machine_checks` judges them.

A measurement that fails says why or is None, unless its docstring names an error.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import paris_p2p
from paris_p2p import child
from paris_p2p.errors import ParisError, PortInUse, Unreachable
from paris_p2p.files import write_atomically
from paris_p2p.home import Home
from paris_p2p.identity import author_of
from paris_p2p.network.p2pd.listening import choose_port
from paris_p2p.network.reach.handshake import author_at
from paris_p2p.records.address import parse_address

PACKAGES = ("torch", "hivemind", "cryptography", "uvicorn")

DEVICES_PATIENCE = 90.0
"""Most seconds for a process that imports torch, from a cold disk."""

SYNCED = 4096
"""Bytes of the test write."""

CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def versions() -> dict[str, str | None]:
    """Installed versions by package; None if missing. Imports none of them."""
    found = {name: _version(name) for name in PACKAGES}
    p2pd = "here" if _p2pd() else None
    return {
        "paris-p2p": paris_p2p.__version__,
        "python": platform.python_version(),
        **found,
        "p2pd": p2pd,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _p2pd() -> Path | None:
    """The libp2p daemon inside hivemind; None if this machine cannot run it."""
    spec = importlib.util.find_spec("hivemind")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        daemon = Path(folder) / "hivemind_cli" / "p2pd"
        if os.access(daemon, os.X_OK):
            return daemon
    return None


def free_space(home: Home) -> int:
    """Free bytes on the disk of the home, which may not exist yet."""
    folder = home.path
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def store_size(home: Home) -> int:
    """Bytes in the home's store. A peer may change it meanwhile."""
    total = 0
    for file in home.store_dir.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def sync_time(home: Home) -> float:
    """Seconds for a small synced write in the home. Raises OSError, ParisError."""
    home.create()
    probe = home.cache_dir / f"probe-{secrets.token_hex(4)}"
    began = time.perf_counter()
    try:
        write_atomically(probe, bytes(SYNCED))
        return time.perf_counter() - began
    finally:
        probe.unlink(missing_ok=True)


def available_memory() -> int | None:
    """Bytes of memory that a process may still take, within the container's limit."""
    free = _memory_of_machine()
    limits = [limit for file in CGROUP_LIMITS if (limit := _number_in(Path(file))) is not None]
    return min([free, *limits]) if free is not None else None


def _memory_of_machine() -> int | None:
    """The kernel's MemAvailable, else all memory; None if neither is known."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _number_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def open_files() -> int:
    """Files that a process started here may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def udp_trouble(listen: str) -> str:
    """Why no UDP socket can be opened at this IP; "" if one can."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((listen, 0))
    except OSError as error:
        return f"no UDP socket on {listen}: {error.strerror}"
    return ""


def port_trouble(listen: str, port: int) -> str:
    """Why a peer could not listen on this TCP port; "" if it could."""
    try:
        choose_port(listen, port)
    except ParisError as error:
        return error.message
    return ""


def free_port(listen: str, wished: int) -> int:
    """The TCP port `wished` if it is free, else any other. Raises UsageProblem."""
    try:
        return choose_port(listen, wished)
    except PortInUse:
        return choose_port(listen, 0)


async def bootstrap_troubles(addresses: tuple[str, ...]) -> dict[str, str]:
    """By address: why its peer does not answer there; "" if it does."""
    troubles = await asyncio.gather(*map(_bootstrap_trouble, addresses))
    return dict(zip(addresses, troubles, strict=True))


async def _bootstrap_trouble(text: str) -> str:
    address = parse_address(text)
    try:
        found = await author_at(address.transport)
    except Unreachable as error:
        return error.message
    return "" if found == author_of(address.peer_id) else "another peer answers there"


def training_devices() -> list[tuple[str, int]] | str:
    """Names and bytes of memory (0: shared with the processor) of torch's devices.

    A separate process imports torch, so that this one never does. A text says what failed.
    """
    try:
        done = subprocess.run(
            child.command("paris_p2p.training.devices"),
            cwd=child.LASTING_FOLDER,
            env=child.environment(),
            capture_output=True,
            text=True,
            timeout=DEVICES_PATIENCE,
            check=True,
        )
        return [(str(name), int(memory)) for name, memory in json.loads(done.stdout)]
    except subprocess.TimeoutExpired:
        return f"torch could not be imported within {DEVICES_PATIENCE:.0f} s"
    except subprocess.CalledProcessError as error:
        words = error.stderr.strip().splitlines()
        return f"torch cannot be imported: {words[-1][:200] if words else error.returncode}"
    except (OSError, ValueError, TypeError) as error:
        return f"torch's devices cannot be listed: {error}"
