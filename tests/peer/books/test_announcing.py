import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.peer.books import announcing
from paris_p2p.peer.books.survey import read_claims, read_peers, survey
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.transfer.providers import learn_providers, wanted
from paris_p2p.records.codec import encode
from paris_p2p.records.keys import claims_key, heads_key
from paris_p2p.records.manifest import MAX_SIZE
from tests.peer.training.test_claiming import claim
from tests.peer.worlds import PeerWorld, eventually, head_of, hold


async def test_everything_held_is_found_by_others(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = holder.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    holder.heads.add(head_of(holder, 1, 40, content).seal(holder.node.identity))

    await holder.announcer.everything()

    slots = await survey(seeker.swarm, seeker.heads, seeker.run, seeker.run_id, seeker.node.clock)
    by_slot = {state.expert: state for state in slots}
    assert by_slot[1].head is not None and by_slot[1].head.step == 40
    assert by_slot[0].head is None
    assert [peer.author for peer in await read_peers(seeker.swarm, seeker.run_id)] == [
        holder.node.identity.author
    ]
    assert len(await seeker.fetcher.providers(content)) == 1


async def test_a_head_outlives_its_authors_peer(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    author, keeper, seeker = [await world.join() for _ in range(3)]
    content = author.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    author.heads.add(head_of(author, 1, 40, content).seal(author.node.identity))
    await author.announcer.everything()
    await keeper.survey()
    await keeper.fetcher.fetch(content, most=MAX_SIZE)
    await author.announcer.withdraw()
    world.network.drop(author.node.identity.author)

    await keeper.announcer.everything()
    await seeker.survey()
    await seeker.fetcher.fetch(content, most=MAX_SIZE)

    assert seeker.node.blobs.read(content) == b"weights"
    assert seeker.heads.of(1)[0].author == author.node.identity.author


async def test_a_copied_checkpoint_is_announced_with_its_head_at_once(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    author, keeper, seeker = [await world.join() for _ in range(3)]
    content = author.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    author.heads.add(head_of(author, 1, 40, content).seal(author.node.identity))
    await author.announcer.everything()
    await keeper.survey()
    await keeper.fetcher.fetch(content, most=MAX_SIZE)

    await keeper.announcer.content(content)
    await author.announcer.withdraw()

    slots = await survey(seeker.swarm, seeker.heads, seeker.run, seeker.run_id, seeker.node.clock)
    assert {state.expert: state.head.step for state in slots if state.head} == {1: 40}
    assert len(await seeker.fetcher.providers(content)) == 1


async def test_what_was_announced_is_withdrawn(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    await holder.announcer.everything()

    await holder.announcer.withdraw()

    async def gone() -> bool:
        return not await seeker.fetcher.providers(content)

    await eventually(gone)
    assert await read_peers(seeker.swarm, seeker.run_id) == []


async def test_a_claim_under_anothers_subkey_does_not_count(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    one, two = await world.join(), await world.join()
    lease = await claim(one, 0)
    stolen = lease._claim.seal(one.node.identity)
    await lease.release()
    await two.swarm.store(claims_key(two.run_id, 0), stolen, two.node.clock() + 30)

    assert await read_claims(one.swarm, one.run_id, 0) == []


async def test_a_head_that_names_nothing_real_displaces_no_honest_one(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    honest, liar, seeker = [await world.join() for _ in range(3)]
    content = honest.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    honest.heads.add(head_of(honest, 1, 40, content).seal(honest.node.identity))
    fake = head_of(liar, 1, 2**46, b"n" * 32).seal(liar.node.identity)
    await liar.swarm.store(heads_key(liar.run_id, 1), encode([fake]), liar.node.clock() + 100)
    await honest.survey()

    await honest.announcer.everything()
    await seeker.survey()

    assert {head.step for head in honest.heads.of(1)} == {40, 2**46}
    assert 40 in {head.step for head in seeker.heads.of(1)}
    await learn_providers(seeker)
    assert content in wanted(seeker)


async def announcers_of_heads(peer: Membership, slot: int) -> set[bytes]:
    return {entry.owner for entry in await peer.swarm.lookup(heads_key(peer.run_id, slot))}


async def test_what_is_no_longer_held_is_taken_back_with_the_heads_that_name_it(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = holder.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    holder.heads.add(head_of(holder, 1, 40, content).seal(holder.node.identity))
    await holder.announcer.everything()

    holder.node.blobs.drop(content)
    await holder.announcer.everything()

    assert await seeker.fetcher.providers(content) == []
    assert await seeker.swarm.lookup(heads_key(seeker.run_id, 1)) == []


async def test_what_is_given_up_stays_taken_back_until_it_is_announced_again(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = await hold(holder, 0)
    await holder.announcer.everything()

    await holder.announcer.give_up(content)
    await holder.announcer.everything()
    assert await seeker.fetcher.providers(content) == []

    await holder.announcer.content(content)
    assert len(await seeker.fetcher.providers(content)) == 1


async def test_what_is_given_up_in_the_middle_of_a_round_is_not_announced_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = PeerWorld(tmp_path)
    holder, seeker = await world.join(), await world.join()
    content = holder.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    holder.heads.add(head_of(holder, 1, 40, content).seal(holder.node.identity))
    begun, store = iter([True]), holder.swarm.store

    async def giving_up(key: str, value: bytes, expires: float) -> bool:
        if next(begun, False):
            await holder.announcer.give_up(content)
            holder.node.blobs.drop(content)
        return await store(key, value, expires)

    monkeypatch.setattr(holder.swarm, "store", giving_up)
    await holder.announcer.everything()

    assert await seeker.fetcher.providers(content) == []
    assert await seeker.swarm.lookup(heads_key(seeker.run_id, 1)) == []


async def test_a_head_that_enough_others_pass_on_is_passed_on_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "ENOUGH", 2)
    world = PeerWorld(tmp_path)
    author, *keepers = [await world.join() for _ in range(6)]
    content = author.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    author.heads.add(head_of(author, 1, 40, content).seal(author.node.identity))
    await author.announcer.everything()
    for keeper in keepers:
        await keeper.survey()
        await keeper.fetcher.fetch(content, most=MAX_SIZE)
        await keeper.announcer.everything()

    assert await announcers_of_heads(author, 1) == {
        author.node.identity.author,
        keepers[0].node.identity.author,
    }
    assert len(await author.fetcher.providers(content)) == len(keepers)

    for gone in (author, keepers[0]):
        await gone.announcer.withdraw()
    await keepers[1].survey()
    await keepers[1].announcer.everything()
    assert await announcers_of_heads(author, 1) == {keepers[1].node.identity.author}


@given(st.booleans(), st.integers(0, 500), st.randoms(use_true_random=False))
def test_nobody_falls_silent_where_few_speak_and_nobody_begins_where_enough_do(
    does: bool, others: int, rng: random.Random
) -> None:
    answer = announcing.passes_on(does, others, rng)
    assert answer or others >= announcing.ENOUGH
    assert not answer or does or others < announcing.ENOUGH


def test_of_too_many_about_half_stop_at_a_time() -> None:
    rng = random.Random(0)
    going_on = sum(announcing.passes_on(True, 2 * announcing.ENOUGH, rng) for _ in range(1000))
    assert 400 < going_on < 600


async def test_an_announcement_that_outlives_any_honest_one_silences_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "ENOUGH", 1)
    world = PeerWorld(tmp_path)
    author, keeper, liar = [await world.join() for _ in range(3)]
    content = author.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    sealed = head_of(author, 1, 40, content).seal(author.node.identity)
    await author.announcer.content(content)
    await liar.swarm.store(heads_key(liar.run_id, 1), encode([sealed]), liar.node.clock() + 3000)
    await keeper.survey()
    await keeper.fetcher.fetch(content, most=MAX_SIZE)

    await keeper.announcer.everything()

    assert keeper.node.identity.author in await announcers_of_heads(keeper, 1)
