"""Attacks on the readers of text: multiaddrs, PeerIDs, configuration files, remembered peers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from paris_p2p import config
from paris_p2p.errors import BadContent, ParisError, UsageProblem
from paris_p2p.home import Home
from paris_p2p.identity import Identity, author_of, peer_id_of
from paris_p2p.peer.last_session import read_known_peers
from paris_p2p.records.address import EXAMPLE, parse_address, parse_transport
from tests.records.conftest import SIGNER

from .mutate import Mutator
from .target import Target

PARTS = ("/", "/ip4/", "/ip6/::1", "/dns4/", "/tcp/", "/udp/1/quic-v1", "/p2p/", "/p2p-circuit")
ODD = (
    "%eth0",
    "0",
    "99999999999999999999",
    "٣",
    "é",
    "\0",
    "\n",
    "\x1b[2J",
    " ",
    "." * 300,
    "1" * 90,
)

ADDRESSES = (
    EXAMPLE,
    EXAMPLE.replace("/ip4/203.0.113.7", "/ip6/2001:db8::7"),
    EXAMPLE.replace("/ip4/203.0.113.7", "/dns4/seed.example.org"),
)
HOSTS = (
    "203.0.113.7",
    "0",
    "1.2.3",
    "256.1.1.1",
    "2001:db8::7",
    "::1%eth0",
    "a" * 64,
    "-a",
    "A.b.",
)
PORTS = ("31337", "0", "01", "65536", "-1", "٣", "1e3", "")
KEYS = ("bootstrap", "listen", "port", "announce", "run", "api_port", "no_such", "'quoted key'")
VALUES = (
    *(
        "[]",
        f'["{EXAMPLE}"]',
        '["/ip4/1.2.3.4/tcp/1"]',
        "[1]",
        "{}",
        '"0.0.0.0"',
        '"::"',
        '"\\u0000"',
    ),
    *(
        "0",
        "31337",
        "-1",
        "1.5",
        "inf",
        "true",
        "1979-05-27",
        '"' + "ab" * 32 + '"',
        '"AB"',
        "=",
        "",
    ),
)
TOML_PARTS = ("=", "[", "]]", '"', "'''", "\\u0000", "1e999", "inf", "1979-05-27", "[a.b]", "port=")


@contextmanager
def targets() -> Iterator[list[Target]]:
    with TemporaryDirectory(prefix="paris-fuzz-") as folder:
        home = Home(folder)
        yield [
            Target("multiaddrs", 110, _address),
            Target("PeerIDs", 30, _peer_id),
            Target("configuration files", 15, lambda mutator: _config(home, mutator)),
            Target("identity files", 8, lambda mutator: _identity(home, mutator)),
            Target("remembered peers", 7, lambda mutator: _known(home, mutator)),
        ]


def _address(mutator: Mutator) -> None:
    """What passes is printed as it was read, and fits into one line of a terminal."""
    text = mutator.rng.choice((_composed, _bent_address))(mutator)
    with suppress(BadContent):
        address = parse_address(text)
        assert str(address) == text and text.isprintable() and len(author_of(address.peer_id)) == 32
    with suppress(BadContent):
        assert parse_transport(text).isprintable()


def _bent_address(mutator: Mutator) -> str:
    return mutator.text(mutator.rng.choice(ADDRESSES), (*PARTS, *ODD))


def _composed(mutator: Mutator) -> str:
    """Right or wrong hosts and ports in their right places."""
    host = mutator.rng.choice(("/ip4/", "/ip6/", "/dns4/", "/unix/")) + mutator.rng.choice(HOSTS)
    port = mutator.rng.choice(PORTS)
    way = mutator.rng.choice((f"/tcp/{port}", f"/udp/{port}/quic-v1", f"/tcp/{port}/ws"))
    return host + way + mutator.rng.choice((f"/p2p/{SIGNER.peer_id}", "", "/p2p/Qm"))


def _peer_id(mutator: Mutator) -> None:
    text = mutator.text(SIGNER.peer_id, (*ODD, "Qm", "12D3Koo", "0OIl", "z" * 60))
    with suppress(BadContent):
        assert peer_id_of(author_of(text)) == text


def _config(home: Home, mutator: Mutator) -> None:
    text = "".join(f"{key} = {mutator.rng.choice(VALUES)}\n" for key in _some(mutator, KEYS))
    injured = mutator.text(text, (*TOML_PARTS, *ODD)).encode()
    written = mutator.rng.choice((text.encode(), injured, mutator.bent(injured)))
    home.config_file.write_bytes(written)
    with suppress(UsageProblem):
        config.load(home, {}, environment={"PARIS_PORT": mutator.text("31337", ODD)})


def _some(mutator: Mutator, words: tuple[str, ...]) -> list[str]:
    return mutator.rng.sample(words, mutator.rng.randrange(4))


def _identity(home: Home, mutator: Mutator) -> None:
    file = Path(home.path) / "key"
    SIGNER.save(file)
    file.write_bytes(mutator.bent(file.read_bytes()))
    with suppress(ParisError):
        assert Identity.load(file).author == SIGNER.author
    file.unlink()


def _known(home: Home, mutator: Mutator) -> None:
    valid = f'["{EXAMPLE}", "{EXAMPLE}"]'.encode()
    home.known_peers_file.write_bytes(mutator.bent(valid))
    assert all(parse_address(text) for text in read_known_peers(home))
