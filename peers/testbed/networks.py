"""Hosts and routers as network namespaces of Linux, joined by one bridge: the internet.

    internet (bridge, 45.0.0.0/24)
      |-- public hosts        45.0.0.N
      |-- routers             45.0.0.100+N, MASQUERADE, nothing comes in unasked
            |-- host behind   192.168.N.2

The addresses are ordinary global ones, because libp2p treats reserved ones differently. No
namespace is connected to the machine's network, so no packet leaves the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

NETWORK = "45.0.0"
FIRST_ROUTER = 100


class NoNetworks(Exception):
    """Network namespaces cannot be made here; the message says why."""


@dataclass
class Networks:
    """The hosts made so far. Names are short: an interface's name holds 15 characters."""

    prefix: str
    namespaces: list[str] = field(default_factory=list)
    _hosts: int = 0
    _routers: int = 0

    def public(self, name: str) -> str:
        """A host that everybody can dial; returns its IP."""
        self._hosts += 1
        return self._attach(name, f"{NETWORK}.{self._hosts}")

    def behind_router(self, name: str, *, symmetric: bool = False) -> str:
        """A host behind a router of its own; returns its IP inside.

        A symmetric router uses another outside port for every connection.
        """
        self._routers += 1
        router, lan = f"{name}gw", f"192.168.{self._routers}"
        self._attach(router, f"{NETWORK}.{FIRST_ROUTER + self._routers}")
        self._create(name)
        self._cable(name, "eth0", router, "lan")
        self._ip(router, "addr", "add", f"{lan}.1/24", "dev", "lan")
        self._ip(name, "addr", "add", f"{lan}.2/24", "dev", "eth0")
        self._ip(name, "route", "add", "default", "via", f"{lan}.1")
        self._masquerade(router, symmetric)
        return f"{lan}.2"

    def command(self, name: str, *words: str) -> list[str]:
        """The command line that runs `words` on a host."""
        return ["ip", "netns", "exec", self._space(name), *words]

    def _attach(self, name: str, ip: str) -> str:
        self._create(name)
        self._cable(name, "eth0", "net", f"p{name}")
        self._ip("net", "link", "set", f"p{name}", "master", "bridge")
        self._ip(name, "addr", "add", f"{ip}/24", "dev", "eth0")
        return ip

    def _masquerade(self, router: str, symmetric: bool) -> None:
        out, rules = ["-o", "eth0"], "iptables -w"
        forward = f"{rules} -A FORWARD"
        random = ["--random"] if symmetric else []
        for rule in (
            ["sysctl", "-qw", "net.ipv4.ip_forward=1"],
            [*f"{rules} -t nat -A POSTROUTING -j MASQUERADE".split(), *out, *random],
            f"{rules} -P FORWARD DROP".split(),
            f"{forward} -i lan -j ACCEPT".split(),
            f"{forward} -m state --state ESTABLISHED,RELATED -j ACCEPT".split(),
            f"{rules} -A INPUT -i eth0 -j DROP".split(),
        ):
            _run(self.command(router, *rule))

    def _create(self, name: str) -> None:
        _run(["ip", "netns", "add", self._space(name)])
        self.namespaces.append(self._space(name))
        self._ip(name, "link", "set", "lo", "up")

    def _cable(self, one: str, end: str, other: str, far_end: str) -> None:
        far = ["peer", "name", far_end, "netns", self._space(other)]
        _run(["ip", "link", "add", end, "netns", self._space(one), "type", "veth", *far])
        self._ip(one, "link", "set", end, "up")
        self._ip(other, "link", "set", far_end, "up")

    def _ip(self, name: str, *words: str) -> None:
        _run(["ip", "-n", self._space(name), *words])

    def _space(self, name: str) -> str:
        return f"{self.prefix}-{name}"


@contextmanager
def networks() -> Iterator[Networks]:
    """Networks that last until the end of the block. Raises `NoNetworks` if they are impossible."""
    if missing := why_none():
        raise NoNetworks(missing)
    made = Networks(f"paris{os.getpid()}")
    try:
        made._create("net")
        made._ip("net", "link", "add", "bridge", "type", "bridge")
        made._ip("net", "link", "set", "bridge", "up")
        yield made
    finally:
        for namespace in reversed(made.namespaces):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def why_none() -> str:
    """Why networks cannot be made here; "" when they can."""
    for tool in ("ip", "iptables", "sysctl"):
        if shutil.which(tool) is None:
            return f"{tool} is missing (apt-get install iproute2 iptables procps)"
    trial = f"paris{os.getpid()}-trial"
    try:
        _run(["ip", "netns", "add", trial])
        _run(["ip", "-n", trial, "link", "add", "x", "type", "veth", "peer", "name", "y"])
        masquerade = "iptables -w -t nat -A POSTROUTING -j MASQUERADE"
        _run(["ip", "netns", "exec", trial, *masquerade.split()])
    except NoNetworks as error:
        return f"network namespaces are not permitted here: {error}"
    finally:
        subprocess.run(["ip", "netns", "del", trial], check=False, capture_output=True)
    return ""


def _run(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoNetworks(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
