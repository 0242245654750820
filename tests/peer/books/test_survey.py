"""Reading the swarm: only valid records, in the requested order, some at a time."""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.swarm import Entry
from paris_p2p.peer.books.survey import (
    READ_AT_ONCE,
    read_claims,
    read_heads,
    read_peers,
    read_winners,
)
from paris_p2p.records.claim import Claim
from paris_p2p.records.codec import encode
from paris_p2p.records.head import Head
from paris_p2p.records.keys import claims_key, heads_key
from paris_p2p.records.presence import Presence
from simulator.world import RUN_ID, make_run
from tests.peer.worlds import PeerWorld, head_of, hold
from tests.records.test_claim import NOW, a_claim

SLOTS = 3 * READ_AT_ONCE + 1


def swarm_of(identity: Identity, network: MemoryNetwork) -> MemorySwarm:
    return network.join(identity.author)


async def announce(swarm: MemorySwarm, identity: Identity, slot: int) -> Claim:
    claim = replace(a_claim(identity.author), run=RUN_ID, expert=slot)
    await swarm.store(claims_key(RUN_ID, slot), claim.seal(identity), claim.expires)
    return claim


async def test_winners_come_in_the_order_of_the_slots() -> None:
    identity, rng = Identity(bytes(range(32))), random.Random(1)
    swarm = swarm_of(identity, MemoryNetwork(clock=lambda: NOW))
    held = {slot: await announce(swarm, identity, slot) for slot in range(0, SLOTS, 3)}
    asked = rng.sample(range(SLOTS), SLOTS)

    winners = await read_winners(swarm, make_run(SLOTS, rng), RUN_ID, asked, lambda: NOW)

    assert winners == [held.get(slot) for slot in asked]


async def test_so_many_slots_are_read_at_once_and_no_more() -> None:
    swarm = swarm_of(Identity(bytes(range(32))), MemoryNetwork(clock=lambda: NOW))
    under_way, most = 0, 0

    async def lookup(key: str) -> list[Entry]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return []

    swarm.lookup = lookup  # type: ignore[method-assign]
    run = make_run(SLOTS, random.Random(1))
    await read_winners(swarm, run, RUN_ID, range(SLOTS), lambda: NOW)
    assert most == READ_AT_ONCE


async def test_a_claim_read_twice_is_still_only_believed_from_its_author() -> None:
    """That a claim checks is remembered by its bytes; whose entry it came in is looked at anew."""
    network = MemoryNetwork(clock=lambda: NOW)
    author, thief = Identity(bytes(range(32))), Identity(bytes(range(1, 33)))
    mine = swarm_of(author, network)
    claim = await announce(mine, author, 0)
    assert await read_claims(mine, RUN_ID, 0) == [claim]

    stranger = swarm_of(thief, network)
    sealed = claim.seal(author)
    await stranger.store(claims_key(RUN_ID, 0), sealed, claim.expires)
    await stranger.store(claims_key(RUN_ID, 1), sealed, claim.expires)

    assert await read_claims(stranger, RUN_ID, 0) == []
    assert await read_claims(stranger, RUN_ID, 1) == []


async def test_where_authors_are_named_nobody_elses_claims_count() -> None:
    identity = Identity(bytes(range(32)))
    swarm = swarm_of(identity, MemoryNetwork(clock=lambda: NOW))
    claim = await announce(swarm, identity, 0)
    assert await read_claims(swarm, RUN_ID, 0, (identity.author,)) == [claim]
    assert await read_claims(swarm, RUN_ID, 0, (b"o" * 32,)) == []


class Checks:
    """Counts the records that are checked, and in which threads."""

    def __init__(self, kind: type[Head] | type[Presence], monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.threads: set[int] = set()
        unseal = kind.unseal

        def counted(sealed: bytes) -> Head | Presence:
            self.count += 1
            self.threads.add(threading.get_ident())
            return unseal(sealed)

        monkeypatch.setattr(kind, "unseal", counted)


async def test_a_head_is_checked_once_however_many_announce_it_and_never_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    reader, author, *others = [await world.join() for _ in range(5)]
    sealed = head_of(author, 0, 7).seal(author.node.identity)
    strange = head_of(author, 1, 7).seal(author.node.identity)
    key = heads_key(reader.run_id, 0)
    for peer in (author, *others):
        await peer.swarm.store(key, encode([strange, sealed, b"no record"]), peer.node.clock() + 60)

    checks = Checks(Head, monkeypatch)
    await read_heads(reader.swarm, reader.heads, 0, reader.run_id)

    (head,) = reader.heads.all()
    assert reader.heads.announcers(head).keys() == {
        peer.node.identity.author for peer in (author, *others)
    }
    assert checks.count == 3
    assert threading.get_ident() not in checks.threads


async def test_presence_is_never_checked_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    reader, holder = await world.join(), await world.join()
    await holder.announcer.everything()
    await asyncio.sleep(1)
    content = await hold(holder, 0)

    checks = Checks(Presence, monkeypatch)
    assert len(await reader.fetcher.providers(content)) == 1
    assert len(await read_peers(reader.swarm, reader.run_id)) == 1

    assert checks.count == 2
    assert threading.get_ident() not in checks.threads


async def test_a_presence_that_is_read_again_is_not_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    holder, asker = await world.join(), await world.join()
    content = await hold(holder, 1)
    assert len(await asker.fetcher.providers(content)) == 1

    def unseal(*_: object) -> None:
        raise AssertionError("checks a signature again")

    monkeypatch.setattr(Presence, "unseal", unseal)
    assert len(await asker.fetcher.providers(content)) == 1
