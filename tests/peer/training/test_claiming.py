import asyncio
import random
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from paris_p2p.errors import Held, NotAvailable
from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.network.swarm import Entry
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.training.claiming import Claimant, claimant_of
from paris_p2p.peer.training.lease import Lease, LeaseLost
from paris_p2p.records.claim import LEASE, RENEW, SAMPLE, SlotState
from paris_p2p.records.device_fit import Device, least_memory
from paris_p2p.records.run import ROUTER, ExpertSlot
from simulator.world import RUN_ID, make_run
from tests.peer.worlds import PeerWorld, eventually
from tests.records.test_claim import NOW, incumbent


class Lookups:
    """Counts what a peer looks up: a sign that its loops go round."""

    def __init__(self, peer: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        lookup = peer.swarm.lookup

        async def counted(key: str) -> list[Entry]:
            self.count += 1
            return await lookup(key)

        monkeypatch.setattr(peer.swarm, "lookup", counted)


async def claim(peer: Membership, wanted: int | None = None) -> Lease:
    return await claimant_of(peer).acquire(wanted, busy=peer.training)


async def test_peers_that_claim_at_once_end_on_different_experts(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()

    leases = await asyncio.gather(claim(one), claim(two))

    assert {lease.expert for lease in leases} == {0, 1}


async def test_a_third_peer_finds_every_expert_held(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peers = [await world.join() for _ in range(3)]
    await claim(peers[0])
    await claim(peers[1])

    with pytest.raises(NotAvailable, match="every expert"):
        await claim(peers[2])


async def test_the_router_is_claimed_like_an_expert(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    lease = await claim(await world.join(), ROUTER)
    assert lease.expert == ROUTER


async def test_a_held_expert_is_refused_and_its_holder_named(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()
    await claim(one, 1)

    with pytest.raises(Held, match=one.node.identity.peer_id):
        await claim(two, 1)


async def test_an_unknown_expert_is_refused(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    with pytest.raises(NotAvailable, match="no expert 7"):
        await claim(peer, 7)


async def test_a_released_expert_is_free_at_once(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()
    lease = await claim(one, 0)
    await lease.release()

    assert (await claim(two, 0)).expert == 0


async def test_a_restarted_peer_gets_its_own_slot_back(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    await claim(peer, 1)
    assert (await claim(peer)).expert == 1


async def test_a_lease_that_another_has_won_is_lost(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()
    mine = await claim(one, 0)
    others = await claim(two, 1)
    others._claim = replace(
        mine._claim,
        author=two.node.identity.author,
        since=one.node.clock() - 30,
        progressed=one.node.clock(),
        step=10,
    )
    await others.renew()

    with pytest.raises(LeaseLost, match=two.node.identity.peer_id):
        await asyncio.wait_for(mine.keep(), RENEW)


async def test_a_slot_this_peer_trains_already_is_not_claimed_twice(tmp_path: Path) -> None:
    peer = await PeerWorld(tmp_path).join()
    peer.training = {(await claim(peer)).expert}

    other = await claim(peer)

    assert other.expert not in peer.training
    with pytest.raises(Held, match="training expert"):
        await claim(peer, next(iter(peer.training)))


async def test_who_waits_gets_the_slot_that_falls_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    one, two, three = [await world.join() for _ in range(3)]
    held = [await claim(one), await claim(two)]
    lookups = Lookups(three, monkeypatch)
    waiting = asyncio.create_task(claimant_of(three).acquire(wait=True))
    await eventually(lambda: lookups.count > 4)
    assert not waiting.done()

    await held[0].release()

    assert (await asyncio.wait_for(waiting, 60)).expert == held[0].expert


async def test_a_wanted_slot_is_waited_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()
    held = await claim(one, 1)
    lookups = Lookups(two, monkeypatch)
    waiting = asyncio.create_task(claimant_of(two).acquire(1, wait=True))
    await eventually(lambda: lookups.count > 4)
    assert not waiting.done()
    await held.release()
    assert (await asyncio.wait_for(waiting, 60)).expert == 1


async def test_a_slot_too_large_for_the_device_is_refused_and_its_need_named(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    small = Device(memory=1)
    with pytest.raises(NotAvailable, match="needs about"):
        await claimant_of(peer, small).acquire(1)
    with pytest.raises(NotAvailable, match="needs about"):
        await claimant_of(peer, small).acquire(wait=True)


def differing(peer: Membership, objective: str = "flow") -> None:
    """Give the peer's run a large expert 0 and, with this objective, a small expert 1."""
    large = ExpertSlot(replace(peer.run.expert, hidden=512, depth=8))
    peer.run = replace(peer.run, experts=(large, ExpertSlot(peer.run.expert, objective)))


async def test_a_peer_with_a_small_device_claims_a_small_expert(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    for _ in range(2):
        peer = await world.join()
        differing(peer)
        small = Device(memory=least_memory(peer.run, 1))
        lease = await claimant_of(peer, small).acquire()
        assert lease.expert == 1
        with pytest.raises(NotAvailable, match="expert 0 needs about"):
            await claimant_of(peer, small).acquire(0)
        await lease.release()


async def test_an_expert_whose_objective_is_unknown_is_passed_over_and_refused_by_name(
    tmp_path: Path,
) -> None:
    peer = await PeerWorld(tmp_path).join()
    differing(peer, objective="mean-flow")
    with pytest.raises(NotAvailable, match="expert 1 is trained with the objective 'mean-flow'"):
        await claim(peer, 1)
    assert (await claim(peer)).expert == 0


async def newcomer_against(lease: Lease, rival: Membership) -> None:
    """`rival` announces a fresh claim on the leased slot, with a ticket ground to be better."""
    mine, now = lease._claim, rival.node.clock()
    fresh = replace(
        mine, author=rival.node.identity.author, since=now, progressed=now, expires=now + LEASE
    )
    ground = next(
        claim
        for claim in (replace(fresh, term=term) for term in range(10_000))
        if claim.ticket < mine.ticket
    )
    await Lease(rival.swarm, rival.node.identity, ground, rival.node.clock).renew()


async def test_a_lease_just_settled_yields_to_a_better_ticket(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()
    lease = await claim(one, 0)
    await newcomer_against(lease, two)
    rival = await lease.rival()
    assert rival is not None and rival.author == two.node.identity.author


async def test_a_lease_held_undisputed_for_a_while_yields_to_no_ticket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()
    lease = await claim(one, 0)
    keeping = asyncio.create_task(lease.keep())
    await eventually(lambda: lease.firm)
    await newcomer_against(lease, two)
    lookups = Lookups(one, monkeypatch)
    await eventually(lambda: lookups.count > 3)
    assert not keeping.done()
    keeping.cancel()


async def test_claims_of_authors_whose_checkpoints_do_not_count_are_ignored(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()
    two.run = replace(two.run, trusted_authors=(two.node.identity.author,))
    await claim(one, 0)
    assert (await claim(two, 0)).expert == 0


async def test_a_slot_claimed_with_invented_steps_is_free(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    honest, liar = await world.join(), await world.join()
    for slot in (0, 1):
        now = liar.node.clock()
        claim = replace(
            incumbent(1),
            run=liar.run_id,
            expert=slot,
            author=liar.node.identity.author,
            since=now - 300,
            start_step=0,
            step=10**9,
            progressed=now,
            expires=now + LEASE,
        )
        await Lease(liar.swarm, liar.node.identity, claim, liar.node.clock).renew()

    lease = await claimant_of(honest).acquire()

    assert [state.winner is None for state in await honest.survey([1 - lease.expert])] == [True]
    assert {(told.author, "far ahead" in told.reason) for told in honest.node.refusals.all()} == {
        (liar.node.identity.author.hex(), True)
    }


class Held64:
    """64 experts, all held, and which of them were looked at, look by look."""

    def __init__(self) -> None:
        self.looks: list[list[int]] = []

    async def survey(self, slots: Collection[int]) -> list[SlotState]:
        self.looks.append(list(slots))
        return [SlotState(slot, incumbent(1), None) for slot in slots]

    def claimant(self) -> Claimant:
        rng = random.Random(1)
        swarm = MemoryNetwork(clock=lambda: NOW).join(bytes(32))
        return Claimant(
            swarm, Identity(bytes(32)), make_run(64, rng), RUN_ID, self.survey, lambda: NOW, rng
        )


async def test_a_search_looks_at_a_sample_and_widens_until_it_has_seen_all() -> None:
    held = Held64()
    with pytest.raises(NotAvailable, match="every expert"):
        await held.claimant().acquire()
    assert [len(look) for look in held.looks] == [SAMPLE, 2 * SAMPLE, SAMPLE]
    assert sorted(slot for look in held.looks for slot in look) == list(range(64))


async def test_one_who_waits_looks_at_a_sample_at_a_time() -> None:
    held = Held64()
    waiting = asyncio.create_task(held.claimant().acquire(wait=True))
    await eventually(lambda: len(held.looks) >= 4)
    waiting.cancel()
    assert sorted(slot for look in held.looks[:4] for slot in look) == list(range(64))
