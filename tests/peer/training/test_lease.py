"""A lease is kept against invented steps, slow networks, clocks that are set, and a twin."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.network.swarm import Entry
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training import lease as lease_module
from paris_p2p.peer.training.claiming import claimant_of
from paris_p2p.peer.training.lease import (
    LOOK_FIRST,
    STORE_PATIENCE,
    TWIN,
    Judge,
    Lease,
    LeaseLost,
)
from paris_p2p.records.claim import LEASE, RENEW, Claim, Evidence, claim_winner
from paris_p2p.records.codec import encode
from paris_p2p.records.keys import claims_key, heads_key
from tests.peer.worlds import PeerWorld, eventually, head_of, hold
from tests.records.test_claim import NOW, incumbent

ME, RIVAL = Identity(bytes([1] * 32)), Identity(bytes([2] * 32))
INTERVAL = 1000


@dataclass
class Desk:
    """One lease that advances, and a network whose clock is set by hand."""

    steps: dict[bytes, int]
    now: float = NOW
    lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        self.network = MemoryNetwork(clock=lambda: self.now)
        self.swarms: dict[bytes, MemorySwarm] = {}
        self.refused: list[tuple[Claim, str]] = []

    @classmethod
    async def of(cls, **steps: int) -> Desk:
        """`me` and `rival` serve checkpoints at these steps."""
        authors = {"me": ME.author, "rival": RIVAL.author}
        desk = cls({authors[name]: step for name, step in steps.items()})
        await desk.join(ME, RIVAL)
        desk.lease = desk.lease_of(ME, 1)
        desk.lease.begin(100)
        desk.lease.advance(150)
        desk.now += 30
        return desk

    async def join(self, *identities: Identity) -> Desk:
        for identity in identities:
            swarm = self.network.join(identity.author)
            for other in self.swarms.values():
                await swarm.connect(other.addresses()[0])
            self.swarms[identity.author] = swarm
        return self

    def lease_of(self, identity: Identity, term: int, predecessor: Claim | None = None) -> Lease:
        claim = replace(
            incumbent(1), author=identity.author, term=term, since=self.now, start_step=0, step=0,
            progressed=self.now, expires=self.now + LEASE,
        )  # fmt: skip
        judge = Judge(
            evidence=self.evidence, refuse=lambda claim, why: self.refused.append((claim, why))
        )
        swarm = self.swarms[identity.author]
        return Lease(swarm, identity, claim, lambda: self.now, judge, predecessor=predecessor)

    async def evidence(self, claim: Claim) -> Evidence:
        return Evidence(self.steps, INTERVAL)

    async def say(self, identity: Identity, claim: Claim) -> None:
        swarm = self.swarms[identity.author]
        key = claims_key(claim.run, claim.expert)
        await swarm.store(key, claim.seal(identity), claim.expires)

    async def rival_claims(self, start: int, step: int) -> Claim | None:
        """The claim that the lease yields to, after a rival has claimed these steps."""
        since = self.now - 20
        claim = replace(
            incumbent(1), author=RIVAL.author, since=since, progressed=self.now, start_step=start,
            step=step, expires=self.now + LEASE,
        )  # fmt: skip
        await self.say(RIVAL, claim)
        return await self.lease.rival()

    async def unrivalled(self) -> None:
        for _ in range(2):
            await self.lease._watch()


FAR = 10**6


async def test_invented_steps_evict_nobody_who_advances() -> None:
    """Neither far ahead of all there is, nor such as might be true but are not published."""
    desk = await Desk.of(me=100)
    await desk.unrivalled()
    assert await desk.rival_claims(0, FAR) is None
    assert await desk.rival_claims(FAR - 10, FAR) is None
    assert {(claim.author, "far ahead" in why) for claim, why in desk.refused} == {
        (RIVAL.author, True)
    }
    assert await desk.rival_claims(100, 900) is None


async def test_steps_that_are_served_win_the_slot() -> None:
    desk = await Desk.of(me=100, rival=1000)
    await desk.unrivalled()
    winner = await desk.rival_claims(100, 1200)
    assert winner is not None and winner.author == RIVAL.author


async def test_a_lease_that_has_just_begun_yields_to_steps_that_may_be_true() -> None:
    desk = await Desk.of(me=100)
    assert await desk.rival_claims(100, FAR) is None
    winner = await desk.rival_claims(100, 900)
    assert winner is not None and winner.author == RIVAL.author


async def test_any_number_of_liars_costs_a_few_proofs_and_no_lease() -> None:
    desk = await Desk.of(me=100)
    await desk.unrivalled()
    for number in range(20):
        liar = Identity(bytes([100 + number] * 32))
        await desk.join(liar)
        claim = replace(
            incumbent(1), author=liar.author, step=FAR, progressed=desk.now - 1,
            since=desk.now - 100, expires=desk.now + LEASE,
        )  # fmt: skip
        await desk.say(liar, claim)
    assert await desk.lease.rival() is None
    assert len(desk.refused) == lease_module.MOST_DOUBTED


@pytest.mark.parametrize("back", [1.0, 300.0, 3600.0])
async def test_a_clock_set_back_ends_no_lease(back: float) -> None:
    desk = await Desk.of()
    await desk.lease.renew()
    desk.now -= back

    desk.lease.advance(160)
    await desk.lease.renew()

    told = desk.lease._claim
    assert told.step == 160
    assert claim_winner([told], desk.now) == told
    assert await desk.lease.rival() is None


async def test_a_clock_that_was_ahead_when_the_lease_began_ends_it_neither() -> None:
    desk = await Desk.of()
    desk.now += 3600
    lease = desk.lease_of(ME, 2)
    desk.now -= 3600
    lease.advance(5)
    await lease.renew()
    assert claim_winner([lease._claim], desk.now) == lease._claim


async def test_a_new_lease_after_the_clock_was_set_back_has_a_later_term(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    before = await claimant_of(peer).acquire(1)
    peer.node.clock = lambda: world.network.clock() - 30
    after = await claimant_of(peer).acquire(1)
    assert after._claim.term > before._claim.term


def test_a_renewal_may_fail_whole_and_the_next_is_in_time() -> None:
    assert LOOK_FIRST + STORE_PATIENCE < RENEW
    assert 2 * RENEW + LOOK_FIRST + STORE_PATIENCE < LEASE


@pytest.mark.parametrize("hanging", ["lookup", "evidence", "store"])
async def test_a_lease_is_renewed_in_time_whatever_hangs(
    monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    desk = await Desk.of()
    swarm, stores = desk.swarms[ME.author], 0
    store = swarm.store

    async def forever(*_: object) -> list[Entry]:
        await asyncio.Event().wait()
        return []

    async def counted(key: str, value: bytes, expires: float) -> bool:
        nonlocal stores
        stores += 1
        return bool(await forever()) if hanging == "store" else await store(key, value, expires)

    monkeypatch.setattr(swarm, "store", counted)
    if hanging == "lookup":
        monkeypatch.setattr(swarm, "lookup", forever)
    if hanging == "evidence":
        await desk.rival_claims(100, 900)
        desk.lease._judge = Judge(evidence=forever)  # type: ignore[arg-type]
    keeping = asyncio.create_task(desk.lease.keep())
    await eventually(lambda: stores > 4)
    assert not keeping.done()
    keeping.cancel()


class Twins:
    """Two peers under one key: the second has a copy of the first one's home."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.first = desk.lease

    async def second(self) -> Lease:
        await self.first.renew()
        self.desk.now += 1
        lease = self.desk.lease_of(ME, 2, predecessor=self.first._claim)
        await lease.renew()
        return lease


async def test_of_two_peers_with_one_key_the_later_one_yields_and_both_are_told() -> None:
    twins = Twins(await Desk.of())
    second = await twins.second()

    await twins.first._watch()
    assert len(twins.first.warnings) == 1 and TWIN in twins.first.warnings[0]
    twins.desk.now += 1
    await twins.first.renew()
    with pytest.raises(LeaseLost, match=TWIN):
        await second._watch()

    await second.release()
    assert [why for _, why in twins.desk.refused] == [f"{TWIN}, a copied home?"] * 2
    entries = await twins.desk.swarms[RIVAL.author].lookup(
        claims_key(twins.first._claim.run, twins.first.expert)
    )
    assert len(entries) == 1


async def test_what_an_earlier_life_of_this_peer_left_is_no_twin() -> None:
    twins = Twins(await Desk.of())
    before = twins.first._claim
    second = await twins.second()
    for _ in range(3):
        await twins.desk.say(ME, before)
        await second._watch()
    assert second.warnings == []


async def served(world: PeerWorld, author: Membership, step: int) -> None:
    content = await hold(author, 1)
    head = head_of(author, 0, step, content).seal(author.node.identity)
    key = heads_key(author.run_id, 0)
    await author.swarm.store(key, encode([head]), world.network.clock() + 60)


async def test_a_head_of_nothing_vouches_for_no_claim(tmp_path: Path) -> None:
    """A liar's head names content that nobody serves; an honest author's can be fetched."""
    world = PeerWorld(tmp_path)
    holder, liar, honest = [await world.join() for _ in range(3)]
    invented = head_of(liar, 0, FAR, b"n" * 32).seal(liar.node.identity)
    key = heads_key(liar.run_id, 0)
    await liar.swarm.store(key, encode([invented]), world.network.clock() + 60)
    await served(world, honest, 40)
    judge = claimant_of(holder).judge
    assert judge.evidence is not None
    shown = []
    for peer in (liar, honest):
        claim = replace(incumbent(1), run=peer.run_id, author=peer.node.identity.author)
        shown.append((await judge.evidence(claim)).steps.get(peer.node.identity.author))
    assert shown == [None, 40]


async def test_anothers_content_vouches_for_nobody_who_claims_more_for_it(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, liar, honest = [await world.join() for _ in range(3)]
    await served(world, honest, 40)
    borrowed = head_of(liar, 0, FAR, await hold(honest, 1)).seal(liar.node.identity)
    key = heads_key(liar.run_id, 0)
    await liar.swarm.store(key, encode([borrowed]), world.network.clock() + 60)
    claim = replace(incumbent(1), run=liar.run_id, author=liar.node.identity.author)
    evidence = claimant_of(holder).judge.evidence
    assert evidence is not None
    assert liar.node.identity.author not in (await evidence(claim)).steps
