"""A bootstrap: it says that it is one, dials back who asks, remembers whom it met."""

from __future__ import annotations

from pathlib import Path

import pytest

from paris_p2p.errors import Unreachable
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.reach.dial_back import DialBackAnswer
from paris_p2p.peer.books.survey import read_peers
from paris_p2p.peer.bootstrap import running_bootstrap
from paris_p2p.peer.doctor.dial_back_check import ask_to_dial_back
from paris_p2p.peer.last_session import read_known_peers
from tests.peer.worlds import eventually

RUN = bytes(range(32))


def made(tmp_path: Path, network: MemoryNetwork) -> tuple[Home, Identity, MemorySwarm]:
    home, identity = Home(tmp_path / "home"), Identity.generate()
    home.create()
    return home, identity, network.join(identity.author)


async def test_newcomers_of_the_run_see_a_bootstrap_until_it_leaves(tmp_path: Path) -> None:
    network = MemoryNetwork()
    home, identity, swarm = made(tmp_path, network)
    newcomer = network.join(Identity.generate().author)
    await newcomer.connect(swarm.addresses()[0])
    async with running_bootstrap(home, identity, swarm, RUN):

        async def seen() -> bool:
            return [peer.role for peer in await read_peers(newcomer, RUN)] == ["bootstrap"]

        await eventually(seen)
        await eventually(lambda: read_known_peers(home) == tuple(newcomer.addresses()))
    assert await read_peers(newcomer, RUN) == []


async def test_it_dials_back_who_asks_and_needs_no_run(tmp_path: Path) -> None:
    network = MemoryNetwork()
    home, identity, swarm = made(tmp_path, network)
    newcomer = network.join(Identity.generate().author)
    await newcomer.connect(swarm.addresses()[0])
    async with running_bootstrap(home, identity, swarm, None) as bootstrap:
        (answer,) = (await ask_to_dial_back(newcomer, (), bootstrap.rng)).values()
    assert isinstance(answer, DialBackAnswer)


async def test_it_starts_although_others_say_that_its_clock_is_off(
    tmp_path: Path,
) -> None:
    network = MemoryNetwork(clock=lambda: 1000.0)
    home, identity = Home(tmp_path), Identity.generate()
    home.create()
    swarm = network.join(identity.author, clock=lambda: 2000.0)
    other = network.join(Identity.generate().author)
    await swarm.connect(other.addresses()[0])
    async with running_bootstrap(home, identity, swarm, None) as bootstrap:
        assert "1000 s ahead" in bootstrap.alarms.all()[0]


async def test_a_duty_that_fails_keeps_none_of_the_others_from_being_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MemoryNetwork()
    home, identity, swarm = made(tmp_path, network)
    newcomer = network.join(Identity.generate().author)
    await newcomer.connect(swarm.addresses()[0])

    async def fail(*_: object) -> bool:
        raise Unreachable("libp2p is not running")

    monkeypatch.setattr(swarm, "store", fail)
    async with running_bootstrap(home, identity, swarm, RUN):
        await eventually(lambda: read_known_peers(home) != ())
