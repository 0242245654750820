from __future__ import annotations

from pathlib import Path

import pytest

from paris_p2p.home import Home
from paris_p2p.network.reach.reachability_types import ReachState
from paris_p2p.peer.last_session import (
    MOST,
    read_known_peers,
    read_port,
    read_reach,
    remember_peers,
    remember_port,
    remember_reach,
)
from paris_p2p.records.address import EXAMPLE

OTHER = EXAMPLE.replace("203.0.113.7", "203.0.113.8")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_newest_come_first_and_no_more_than_most(home: Home) -> None:
    remember_peers(home, [EXAMPLE])
    remember_peers(home, [OTHER])
    assert read_known_peers(home) == (OTHER, EXAMPLE)
    many = [EXAMPLE.replace("203.0.113.7", f"203.0.113.{n}") for n in range(1, MOST + 20)]
    remember_peers(home, many)
    assert read_known_peers(home) == tuple(many[:MOST])


@pytest.mark.parametrize(
    "damaged", [b"", b"2.0", b"{}", b"null", b"[1, null, [], {}]", b"[" * 100_000, b"\xff"]
)
def test_a_damaged_file_is_as_none(home: Home, damaged: bytes) -> None:
    home.known_peers_file.write_bytes(damaged)
    assert read_known_peers(home) == ()


def test_what_is_no_address_is_left_out(home: Home) -> None:
    remember_peers(home, [EXAMPLE, "/ip4/203.0.113.7", "\x1b[2J"])
    assert read_known_peers(home) == (EXAMPLE,)


@pytest.mark.parametrize("state", ReachState)
def test_how_others_reach_this_peer_is_known_at_the_next_start(
    home: Home, state: ReachState
) -> None:
    assert read_reach(home) is ReachState.UNKNOWN
    remember_reach(home, state)
    assert read_reach(home) is state


@pytest.mark.parametrize("damaged", [b"", b"\xff", b"reachable", b"public\n"])
def test_a_damaged_memory_of_that_is_none(home: Home, damaged: bytes) -> None:
    home.reach_file.write_bytes(damaged)
    assert read_reach(home) is ReachState.UNKNOWN


def test_the_port_of_the_last_start_is_known_and_a_damaged_one_is_none(home: Home) -> None:
    assert read_port(home) == 0
    remember_port(home, 31337)
    assert read_port(home) == 31337
    for damaged in (b"", b"port", b"-1", b"65536", b"9" * 6000):
        home.port_file.write_bytes(damaged)
        assert read_port(home) == 0
