"""The configuration of a peer: defaults < config.toml < PARIS_* variables < flags.

    # config.toml, in the home
    bootstrap = ["/ip4/203.0.113.7/tcp/31337/p2p/12D3Koo..."]
    port = 31337

The same as variables: PARIS_BOOTSTRAP (addresses separated by commas), PARIS_PORT=31337. The same
as flags of `paris-peer start`: --bootstrap ADDRESS, once or more, and --port 31337.

A setting is defined only as a field of `PeerConfig`: its name, default and annotation determine
the rest.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_type_hints

from paris_p2p.errors import BadContent, UsageProblem
from paris_p2p.home import Home, absolute
from paris_p2p.records.address import parse_address, parse_transport

MAX_QUOTA = 1 << 60
LEAST_RATE = 64_000
"""Bytes a second below which a limit would leave nothing useful."""
LEAST_DUTY = 10
"""Per cent of duty below which a large expert might not make a step within its lease."""
MAX_REPLICAS = 64
"""More copies than this would be a waste: fewer already make a loss unheard of."""


@dataclass(frozen=True)
class PeerConfig:
    """A peer's configuration. `load` makes it and checks every field."""

    bootstrap: Annotated[
        tuple[str, ...],
        Addresses("Address of any peer, /ip4/HOST/tcp/PORT/p2p/ID; repeat for several.", "-b"),
    ] = ()
    run: Annotated[
        tuple[str, ...],
        RunIds(
            "Id of a run to take part in, in hex; repeat for several (default: those joined with "
            "`paris-peer run join`, else the run shipped with paris)."
        ),
    ] = ()
    listen: Annotated[str, IpAddress("IP address to listen on (default: all).")] = "0.0.0.0"
    port: Annotated[
        int, Port("TCP port to listen on (default: the one used last time, or any free one).")
    ] = 0
    announce: Annotated[
        tuple[str, ...],
        Transports("Address, without PeerID, to tell others instead of this machine's own."),
    ] = ()
    relay: Annotated[
        tuple[str, ...],
        Addresses(
            "Address of a relay to be reachable through, even where others can dial this peer; "
            "repeat for several. A peer that cannot be dialled finds relays by itself."
        ),
    ] = ()
    serve_relay: Annotated[bool, Switch("Relay others, once they can dial this peer")] = True
    upnp: Annotated[bool, Switch("Ask the router to forward the port")] = False
    api_port: Annotated[int, Port("Port of the local API (default: any free one).")] = 0
    swarm_key_file: Annotated[
        str, File("Key of the private swarm to join (default: the open one).")
    ] = ""
    train: Annotated[bool, Switch("Claim and train, unattended, the expert that needs it most")] = (
        False
    )
    duty_cycle: Annotated[
        int,
        DutyCycle(
            "Per cent of the time in which training computes; less keeps a machine cool and quiet "
            "(default: 100)."
        ),
    ] = 100
    seed_only: Annotated[
        bool, Switch("Store and serve all of the run that fits into the quota; never train")
    ] = False
    store_quota: Annotated[
        int,
        Size(
            'Disk to use, as in "20 GB" (default: 50 GiB). It limits copies for others; own work '
            "is always kept."
        ),
    ] = 50 << 30
    replicas: Annotated[
        int, Replicas("Providers that every content of the run should have (default: 3).")
    ] = 3
    upload_limit: Annotated[int, Rate('Most content sent, as in "2 MB/s" (default: no limit).')] = 0
    download_limit: Annotated[int, Rate("Most content fetched, likewise.")] = 0
    allow_private_seeds: Annotated[
        bool, Switch("Use web seeds on this machine and in private networks, too")
    ] = False


def load(
    home: Home, flags: Mapping[str, object], environment: Mapping[str, str] = os.environ
) -> PeerConfig:
    """The configuration of the peer in `home`.

    A flag that is None or an empty sequence was not given. UsageProblem for unknown keys and
    invalid values; it names the place and what is allowed.
    """
    chosen: dict[str, Any] = {}
    for key, value in _from_file(home).items():
        chosen[key] = _checked(key, value, f"{home.config_file}: {key}")
    for key, setting in SETTINGS.items():
        if (variable := f"PARIS_{key.upper()}") in environment:
            value = setting.from_text(environment[variable])
            chosen[key] = _checked(key, value, variable)
    for key, value in flags.items():
        if value is not None and value != () and value != []:
            chosen[key] = _checked(key, value, flag_of(key))
    config = PeerConfig(**chosen)
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


def flag_of(key: str) -> str:
    """A setting's flag on the command line."""
    return f"--{key.replace('_', '-')}"


def _checked(key: str, value: object, place: str) -> object:
    if key not in SETTINGS:
        raise UsageProblem(
            f"{place}: there is no such setting", f"Known are: {', '.join(SETTINGS)}"
        )
    try:
        return SETTINGS[key].read(value)
    except (UsageProblem, BadContent) as error:
        raise UsageProblem(f"{place}: {error.message}", error.remedy) from error


@dataclass(frozen=True)
class Setting(ABC):
    """How a setting is read, and its help text."""

    help: str
    short: str = ""
    """A second name of the flag."""

    written: ClassVar[Any] = str
    """The type in which a value is written: list[str], bool, int or str."""

    @abstractmethod
    def read(self, value: object) -> object:
        """The value of the setting. UsageProblem or BadContent if it is not allowed."""

    def from_text(self, text: str) -> object:
        """The value in a variable's text. Invalid text is returned as it is; `read` refuses it."""
        return text


class Addresses(Setting):
    """Peer addresses."""

    written = list[str]
    items: ClassVar = "addresses"

    def from_text(self, text: str) -> object:
        return [part.strip() for part in text.split(",") if part.strip()]

    def read(self, value: object) -> object:
        if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
            raise UsageProblem(f"must be a list of {self.items}", 'Write it as ["...", "..."]')
        return tuple(self.parse(text) for text in value)

    def parse(self, text: str) -> str:
        return str(parse_address(text))


class Transports(Addresses):
    """Addresses without PeerID."""

    def parse(self, text: str) -> str:
        return parse_transport(text)


class IpAddress(Setting):
    def read(self, value: object) -> object:
        try:
            return str(ipaddress.ip_address(str(value)))
        except ValueError as error:
            raise UsageProblem(f"{value!r} is not an IP address", "0.0.0.0 means all") from error


class Whole(Setting):
    """A whole number."""

    written = int

    def from_text(self, text: str) -> object:
        return int(text[:20]) if text.isascii() and text.isdecimal() else text


class Port(Whole):
    """0 for any."""

    def read(self, value: object) -> object:
        if type(value) is not int or not 0 <= value <= 65535:
            raise UsageProblem(f"{value!r} is not a port", "A port is a number from 0 to 65535")
        return value


class Replicas(Whole):
    def read(self, value: object) -> object:
        if type(value) is not int or not 1 <= value <= MAX_REPLICAS:
            raise UsageProblem(
                f"{value!r} is not a number of replicas", f"It is a number from 1 to {MAX_REPLICAS}"
            )
        return value


class DutyCycle(Setting):
    """Per cent, as a number or as in "50%"."""

    def read(self, value: object) -> object:
        text = value.strip().removesuffix("%") if isinstance(value, str) else ""
        number = int(text[:4]) if text.isascii() and text.isdecimal() else value
        if type(number) is not int or not LEAST_DUTY <= number <= 100:
            raise UsageProblem(
                f"{value!r} is not a duty cycle", f"It is a number from {LEAST_DUTY} to 100"
            )
        return number


class File(Setting):
    """An absolute path; "" for none."""

    def read(self, value: object) -> object:
        if not isinstance(value, str) or "\0" in value:
            raise UsageProblem(f"{value!r} is not the path of a file", "Write it in quotes")
        return str(absolute(value)) if value else ""


class RunIds(Addresses):
    """Hex. A single one may stand for itself, and "" for none."""

    items = "ids of runs"

    def read(self, value: object) -> object:
        if isinstance(value, str):
            return super().read([value] if value else [])
        return super().read(value)

    def parse(self, text: str) -> str:
        return run_id_of(text).hex()


def run_id_of(text: object) -> bytes:
    """The id of a run in hex. UsageProblem where it is none."""
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{64}", text):
        remedy = "It has 64 hex digits, in lower case"
        raise UsageProblem(f"{str(text)[:80]!r} is not a run's id", remedy)
    return bytes.fromhex(text)


class Switch(Setting):
    written = bool

    def from_text(self, text: str) -> object:
        return {"true": True, "false": False}.get(text, text)

    def read(self, value: object) -> object:
        if not isinstance(value, bool):
            raise UsageProblem(f"{value!r} is not a switch", "Write true or false")
        return value


class Size(Setting):
    """Bytes, as a number or as text with a unit."""

    FORM: ClassVar = re.compile(
        r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(i?)B?", re.ASCII | re.IGNORECASE
    )

    def read(self, value: object) -> int:
        refusal = UsageProblem(
            f"{value!r} is not a size",
            'Write bytes, or a number with a unit, as in "20 GB" or "4 GiB"',
        )
        if type(value) is int:
            size = value
        elif isinstance(value, str) and (match := self.FORM.fullmatch(value.strip())):
            number, prefix, binary = match.groups()
            base = 1024 if binary else 1000
            size = int(float(number) * base ** " KMGT".index(prefix.upper() or " "))
        else:
            raise refusal
        if not 0 <= size <= MAX_QUOTA:
            raise refusal
        return size


class Rate(Size):
    """Bytes a second, likewise; 0 for no limit."""

    def read(self, value: object) -> int:
        rate = super().read(value.strip().removesuffix("/s") if isinstance(value, str) else value)
        if 0 < rate < LEAST_RATE:
            raise UsageProblem(
                f"{value!r} is too little to be of use",
                f"Allow at least {LEAST_RATE // 1000} kB/s, or 0 for no limit",
            )
        return rate


SETTINGS: dict[str, Setting] = {
    key: hint.__metadata__[0]
    for key, hint in get_type_hints(PeerConfig, include_extras=True).items()
}
"""The setting of each field of `PeerConfig`."""
