"""A run that lists its members, with whole peers on a memory network."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.config import PeerConfig
from paris_p2p.errors import NotAvailable, ParisError
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.network.chunk_protocol import CHUNK_PROTOCOL, ChunkClient
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.peer.books.authorisation import Authorisation
from paris_p2p.peer.books.survey import read_claims, read_peers
from paris_p2p.peer.life import running_node
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.shipped_run import ShippedRun
from paris_p2p.records.claim import LEASE, Claim
from paris_p2p.records.keys import claims_key
from paris_p2p.records.run import RunManifest, run_id
from tests.peer.worlds import CREATOR, Clock, make_run

ALICE, BOB, STRANGER = (Identity(bytes([number] * 32)) for number in range(1, 4))


def closed_run(*members: Identity) -> bytes:
    run = RunManifest.unseal(make_run())
    return replace(run, members=tuple(member.author for member in members)).seal(CREATOR)


class Closed:
    """Peers of a run whose members are Alice and Bob."""

    def __init__(self, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.network = MemoryNetwork(Clock())
        self.sealed = closed_run(ALICE, BOB)
        self.first: Membership | None = None

    def home(self, identity: Identity) -> Home:
        home = Home(self.folder / identity.peer_id)
        home.create()
        return home

    async def join(self, identity: Identity) -> Membership:
        swarm = self.network.join(identity.author, inactivity=1)
        if self.first is not None:
            await swarm.connect(self.first.swarm.addresses()[0])
        home = self.home(identity)
        (home.path / "shipped_run").mkdir()
        (home.path / "shipped_run" / "run.paris").write_bytes(self.sealed)
        shipped = ShippedRun(
            home.path / "shipped_run", run_id(self.sealed), RunManifest.unseal(self.sealed)
        )
        living = running_node(
            home,
            identity,
            swarm,
            PeerConfig(),
            shipped,
            seed=False,
            replicate=False,
            clock=self.network.clock,
        )
        node = await self.stack.enter_async_context(living)
        (peer,) = node.memberships.values()
        self.first = self.first or peer
        return peer

    async def asks(self, identity: Identity, of: Membership) -> bytes | None:
        """The run's record, as a bare client with this identity gets it from a peer."""
        swarm = self.network.find(of.node.identity.author, identity.author)
        if swarm is None:
            swarm = self.network.join(identity.author, inactivity=1)
            await swarm.connect(of.swarm.addresses()[0])
        stream = await swarm.open(of.node.identity.author, CHUNK_PROTOCOL)
        try:
            client = ChunkClient(stream)
            await client.request([of.run_id])
            return (await client.receive())[1]
        except ParisError:
            return None
        finally:
            await stream.close()


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Closed]:
    async with contextlib.AsyncExitStack() as stack:
        yield Closed(tmp_path, stack)


async def test_members_serve_and_hear_each_other_and_nobody_else(closed: Closed) -> None:
    alice, bob = await closed.join(ALICE), await closed.join(BOB)
    assert await closed.asks(BOB, of=alice) == closed.sealed
    assert await closed.asks(STRANGER, of=alice) is None
    stranger = closed.network.find(ALICE.author, STRANGER.author)
    assert stranger is not None
    now = closed.network.clock()
    for identity, swarm in ((BOB, bob.swarm), (STRANGER, stranger)):
        claim = Claim(
            run=alice.run_id,
            expert=0,
            author=identity.author,
            term=1,
            since=now,
            start_step=0,
            step=0,
            progressed=now,
            expires=now + LEASE,
        )
        await swarm.store(claims_key(alice.run_id, 0), claim.seal(identity), now + LEASE)
    heard = await read_claims(alice.swarm, alice.run_id, 0)
    assert [claim.author for claim in heard] == [BOB.author]
    assert {p.author for p in await read_peers(alice.swarm, alice.run_id)} == {
        ALICE.author,
        BOB.author,
    }


async def test_a_peer_that_is_no_member_is_told_so(closed: Closed) -> None:
    await closed.join(ALICE)
    with pytest.raises(NotAvailable, match="is for its members only"):
        await closed.join(STRANGER)


def authorisation(members: tuple[Identity, ...], trusted: tuple[Identity, ...]) -> Authorisation:
    run = RunManifest.unseal(make_run())
    return Authorisation(
        replace(
            run,
            members=tuple(member.author for member in members),
            trusted_authors=tuple(author.author for author in trusted),
        )
    )


@pytest.mark.parametrize(
    ("members", "trusted", "may_take_part", "may_publish"),
    [
        ((), (), (ALICE, BOB, STRANGER), (ALICE, BOB, STRANGER)),
        ((ALICE, BOB), (), (ALICE, BOB), (ALICE, BOB)),
        ((ALICE, BOB), (ALICE,), (ALICE, BOB), (ALICE,)),
        ((), (ALICE,), (ALICE, BOB, STRANGER), (ALICE,)),
    ],
)
def test_a_list_without_names_lets_anyone_and_members_publish_unless_authors_are_named(
    members: tuple[Identity, ...],
    trusted: tuple[Identity, ...],
    may_take_part: tuple[Identity, ...],
    may_publish: tuple[Identity, ...],
) -> None:
    lists = authorisation(members, trusted)
    everybody = (ALICE, BOB, STRANGER)
    assert tuple(one for one in everybody if lists.lists(one.author)) == may_take_part
    assert tuple(one for one in everybody if lists.publishes(one.author)) == may_publish
