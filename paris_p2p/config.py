"""What the user chose, from four places: defaults < config.toml < PARIS_* variables < flags.

    # config.toml, in the home
    bootstrap = ["/ip4/203.0.113.7/tcp/31337/p2p/12D3Koo..."]
    port = 31337

The same as variables: PARIS_BOOTSTRAP (addresses separated by commas), PARIS_PORT=31337.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.home import Home, absolute
from paris_p2p.records.address import parse_address, parse_transport

MAX_QUOTA = 1 << 60
LEAST_RATE = 64_000
"""Bytes a second below which a limit would leave nothing useful for anybody."""
MAX_REPLICAS = 64
"""Under which a loss of content is unheard of, and beyond which copies are a waste."""


@dataclass(frozen=True)
class PeerConfig:
    """How a peer runs. Made by `load`, which has checked every field."""

    bootstrap: tuple[str, ...] = ()
    """Addresses of peers to join through; () for the first node of a new swarm."""
    listen: str = "0.0.0.0"
    """IP address to listen on."""
    port: int = 0
    """TCP port; 0 for the one used last time, or any free one."""
    announce: tuple[str, ...] = ()
    """Addresses, without PeerID, to announce in place of those found on this machine."""
    relay: tuple[str, ...] = ()
    """Addresses of relays to be reachable through, whether or not others can dial this peer."""
    serve_relay: bool = True
    """Relay others, once they can dial this peer."""
    upnp: bool = False
    """Ask the router to forward the port."""
    run: str = ""
    """Id of the run in hex; "" for the one that ships with the package."""
    api_port: int = 0
    """Port of the local API on loopback; 0 for any free one."""
    swarm_key_file: str = ""
    """File with the key of the private swarm to take part in; "" for the open one."""
    store_quota: int = 50 << 30
    """Bytes that the store may take on the disk. Own work is kept beyond it, others' is not."""
    replicas: int = 3
    """Providers that every content of the run should have."""
    seed_only: bool = False
    """Store and serve all of the run that fits into the quota, and never train."""
    train: bool = False
    """Claim and train unattended whatever expert needs it most."""
    upload_limit: int = 0
    download_limit: int = 0
    """Bytes of content a second that may leave and come in; 0 for any number."""
    allow_private_seeds: bool = False
    """Use web seeds of the run that are on this machine or in a private network, too."""


def load(
    home: Home, flags: Mapping[str, object], environment: Mapping[str, str] = os.environ
) -> PeerConfig:
    """The configuration of the peer in `home`.

    A flag that is None or an empty sequence was not given. UsageProblem for unknown keys and for
    values that are not allowed, naming the place and what is.
    """
    fields: dict[str, Any] = {}
    for key, value in _from_file(home).items():
        fields[key] = _checked(key, value, f"{home.config_file}: {key}")
    for key, value in _from_environment(environment).items():
        fields[key] = _checked(key, value, _variable(key))
    for key, value in flags.items():
        if value is not None and value != () and value != []:
            fields[key] = _checked(key, value, f"--{key.replace('_', '-')}")
    config = PeerConfig(**fields)
    if config.seed_only and config.train:
        raise UsageProblem("seed_only and train exclude each other", "Turn one of them off")
    if config.port and config.port == config.api_port:
        raise UsageProblem(
            f"port and api_port are both {config.port}",
            "The swarm and the local API need a port each: choose another --api-port, or 0 for any",
        )
    return config


def _from_file(home: Home) -> dict[str, object]:
    file = home.config_file
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageProblem(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise UsageProblem(f"{file} is not valid TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    given = {key: environment[_variable(key)] for key in _READERS if _variable(key) in environment}
    return {key: _from_text(key, text) for key, text in given.items()}


def _variable(key: str) -> str:
    return f"PARIS_{key.upper()}"


def _from_text(key: str, text: str) -> object:
    """The value a variable's text stands for; text that stands for none is left to be refused."""
    if isinstance(getattr(PeerConfig, key), tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(getattr(PeerConfig, key), bool):
        return {"true": True, "false": False}.get(text, text)
    if isinstance(getattr(PeerConfig, key), int) and text.isascii() and text.isdecimal():
        return int(text[:20])
    return text


def _checked(key: str, value: object, place: str) -> object:
    reader = _READERS.get(key)
    if reader is None:
        raise UsageProblem(
            f"{place}: there is no such setting", f"Known are: {', '.join(_READERS)}"
        )
    try:
        return reader(value)
    except (UsageProblem, BadContent) as error:
        raise UsageProblem(f"{place}: {error.message}", error.remedy) from error


def _addresses(value: object) -> tuple[str, ...]:
    return tuple(str(parse_address(text)) for text in _texts(value))


def _transports(value: object) -> tuple[str, ...]:
    return tuple(parse_transport(text) for text in _texts(value))


def _texts(value: object) -> Iterable[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise UsageProblem("must be a list of addresses", 'Write it as ["...", "..."]')
    return value


def _ip_address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError as error:
        raise UsageProblem(f"{value!r} is not an IP address", "0.0.0.0 listens on all") from error


def _port(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 65535:
        raise UsageProblem(f"{value!r} is not a port", "A port is a number from 0 to 65535")
    return value


def _file(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise UsageProblem(f"{value!r} is not the path of a file", "Write it in quotation marks")
    return str(absolute(value)) if value else ""


def _run(value: object) -> str:
    digits = set("0123456789abcdef")
    if not isinstance(value, str) or (value and (len(value) != 64 or not set(value) <= digits)):
        raise UsageProblem(f"{value!r} is not a run's id", "It has 64 hex digits, in lower case")
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageProblem(f"{value!r} is not a switch", "Write true or false")
    return value


def _size(value: object) -> int:
    """Bytes, from a number of them or from text with a unit."""
    refusal = UsageProblem(
        f"{value!r} is not a size", 'Write bytes, or a number with a unit, as in "20 GB" or "4 GiB"'
    )
    if type(value) is int:
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number, prefix, binary = match.groups()
        base = 1024 if binary else 1000
        size = int(float(number) * base ** " KMGT".index(prefix.upper() or " "))
    else:
        raise refusal
    if not 0 <= size <= MAX_QUOTA:
        raise refusal
    return size


def _rate(value: object) -> int:
    """Bytes a second, from a number of them or from text with a unit."""
    rate = _size(value.strip().removesuffix("/s") if isinstance(value, str) else value)
    if 0 < rate < LEAST_RATE:
        raise UsageProblem(
            f"{value!r} is too little to be of use",
            f"Allow at least {LEAST_RATE // 1000} kB/s, or 0 for no limit",
        )
    return rate


def _replicas(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_REPLICAS:
        raise UsageProblem(
            f"{value!r} is not a number of replicas", f"It is a number from 1 to {MAX_REPLICAS}"
        )
    return value


_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(i?)B?", re.ASCII | re.IGNORECASE)

_READERS: dict[str, Callable[[object], object]] = {
    "bootstrap": _addresses,
    "listen": _ip_address,
    "port": _port,
    "announce": _transports,
    "relay": _addresses,
    "serve_relay": _switch,
    "upnp": _switch,
    "run": _run,
    "api_port": _port,
    "swarm_key_file": _file,
    "store_quota": _size,
    "replicas": _replicas,
    "seed_only": _switch,
    "train": _switch,
    "upload_limit": _rate,
    "download_limit": _rate,
    "allow_private_seeds": _switch,
}
