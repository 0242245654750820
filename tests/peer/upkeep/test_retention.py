"""The decisions about what to keep: every promise as a property."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.peer.upkeep.retention import (
    ProviderNetworks,
    Stored,
    bytes_taken,
    left,
    outranked,
    own_content,
    shared_out,
    superseded,
    to_evict,
    wanted_content,
    worth_copying,
    yielding,
)
from paris_p2p.records.head import Head
from tests.peer.worlds import PeerWorld, head_of

IDS = st.binary(min_size=1, max_size=1)
SETS = st.sets(IDS, max_size=6)
COUNTS = st.dictionaries(IDS, st.integers(0, 9))
STORED = st.lists(
    st.builds(
        Stored,
        content=IDS,
        kind=st.sampled_from(["checkpoint", "resume", "shard", "encoder", "dataset", ""]),
        named=st.booleans(),
        last_use=st.floats(0, 100),
        left=st.booleans(),
    ),
    unique_by=lambda item: item.content,
)


@given(SETS, SETS, COUNTS, st.integers(1, 9) | st.none())
def test_what_is_copied_is_missing_and_to_be_had_and_thin_or_begun(
    missing: set[bytes], begun: set[bytes], providers: dict[bytes, int], replicas: int | None
) -> None:
    worth = {
        item.content: item.providers for item in worth_copying(missing, begun, providers, replicas)
    }
    for content in missing:
        count = providers.get(content, 0)
        thin = replicas is None or count < replicas or content in begun
        assert worth.get(content) == (count if count and thin else None)
    assert worth.keys() <= missing


def test_the_thinnest_comes_first() -> None:
    worth = worth_copying({b"a", b"b", b"c"}, {b"c"}, {b"a": 2, b"b": 1, b"c": 9}, 3)
    assert [item.content for item in worth] == [b"b", b"a", b"c"]


@given(STORED, SETS, st.floats(0, 100))
def test_what_is_let_go_was_of_no_use_for_its_grace_and_the_oldest_goes_first(
    stored: list[Stored], keep: set[bytes], before: float
) -> None:
    by_id = {item.content: item for item in stored}
    for chosen, named in ((superseded, False), (left, False), (outranked, True)):
        gone = chosen(stored, keep, before)
        assert not keep & set(gone)
        assert all(by_id[content].named is named for content in gone)
        trained = all(by_id[content].kind in ("checkpoint", "resume", "") for content in gone)
        assert trained or chosen is not superseded
        times = [by_id[content].last_use for content in gone]
        assert times == sorted(times)
        assert all(time < before for time in times)


@given(
    st.dictionaries(IDS, st.tuples(st.integers(0, 9), st.integers(0, 50))),
    st.integers(1, 5),
    st.integers(-20, 200),
)
def test_what_is_spared_is_held_by_enough_others_and_no_more_than_needed(
    contents: dict[bytes, tuple[int, int]], replicas: int, needed: int
) -> None:
    others = {content: count for content, (count, _) in contents.items()}
    sizes = {content: size for content, (_, size) in contents.items()}
    chosen = to_evict(others, sizes, dict.fromkeys(others, replicas), needed)
    assert all(others[content] >= replicas for content in chosen)
    freed = [sizes[content] for content in chosen]
    possible = sum(sizes[content] for content in others if others[content] >= replicas)
    assert bool(chosen) <= (needed > 0)
    if 0 < needed <= possible:
        assert sum(freed) >= needed > sum(freed[:-1])
    else:
        assert chosen == []


RUNS = st.sampled_from([b"a", b"b", b"c"])


@given(
    st.dictionaries(RUNS, st.sets(st.sampled_from(range(5))), min_size=1),
    st.lists(st.integers(0, 50), min_size=5, max_size=5),
    st.integers(0, 200),
    st.integers(0, 100),
    st.data(),
)
def test_only_runs_over_their_share_yield_and_only_to_one_that_stays_within_its_own(
    numbers: dict[bytes, set[int]],
    sizes_of: list[int],
    quota: int,
    size: int,
    data: st.DataObject,
) -> None:
    named = {run: {bytes([number]) for number in some} for run, some in numbers.items()}
    sizes = {bytes([number]): size_of for number, size_of in enumerate(sizes_of)}
    asker = data.draw(st.sampled_from(sorted(named)))
    taken = bytes_taken(named, sizes)
    share = quota / len(named)
    assert sum(taken.values()) == sum(sizes.get(one, 0) for one in set().union(*named.values()))

    runs = yielding(taken, quota, asker, size)

    assert asker in runs
    assert all(taken[run] > share for run in runs - {asker})
    if taken[asker] + size > share:
        assert runs == {asker}
    else:
        assert runs >= {run for run, bytes_here in taken.items() if bytes_here > share}
    exceeded = yielding(taken, quota, None, 0)
    assert exceeded == ({run for run in taken if taken[run] > share} or set(taken))


async def test_only_the_first_heads_of_a_slot_are_wanted(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    keeper = await world.join()
    for step in (5, 8, 9):
        author = await world.join()
        head = head_of(author, 0, step, bytes([step]) * 32)
        keeper.heads.add(head.seal(author.node.identity))

    def wanted(steps: tuple[int, ...]) -> set[int]:
        """Steps of the heads that are wanted while those of `steps` are served by one peer."""
        providers = {bytes([step]) * 32: {b"somebody": "n"} for step in steps}
        found = wanted_content(keeper.run, keeper.heads, keeper.resumes, providers)
        return {content[0] for content in found.keys() - keeper.run.content_ids()}

    assert wanted((5, 8, 9)) == {8, 9}
    assert wanted((5, 8)) == {5, 8}
    assert wanted(()) == set()


async def test_own_content_is_what_one_author_published_last(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    me, other = await world.join(), await world.join()
    for peer, step in ((me, 1), (me, 2), (other, 3)):
        head = head_of(peer, 0, step, bytes([step]) * 32, created=1000.0 + step)
        me.heads.add(head.seal(peer.node.identity))
    assert own_content(me.node.identity.author, me.heads, me.resumes) == {bytes([2]) * 32}


def heads_of(steps: int) -> list[Head]:
    """Made-up heads of as many authors, the furthest first."""
    return [
        Head(
            run=bytes(32),
            expert=0,
            author=bytes([step]) * 32,
            step=step,
            images=step,
            manifest=bytes([step]) * 32,
            size=1,
            train_loss=1.0,
            held_out_loss=1.0,
            parent=None,
            created=1.0,
        )
        for step in range(steps, 0, -1)
    ]


NETWORKS = st.dictionaries(st.integers(1, 9), st.sampled_from("abcd"), min_size=1, max_size=5)


@given(st.lists(NETWORKS, max_size=9), st.integers(1, 4), st.integers(0, 4))
def test_places_go_to_different_networks_and_the_best_has_one(
    served: list[dict[int, str]], most: int, alike: int
) -> None:
    records = heads_of(len(served))
    origins = {
        record: {bytes([author]) * 32: network for author, network in by.items()}
        for record, by in zip(records, served, strict=True)
    }
    chosen = shared_out(records, origins, most, min(alike, most))
    assert len(set(chosen)) == len(chosen) <= most
    assert chosen[:1] == records[:1]
    networks = {network for by in served for network in by.values()}
    assert len(chosen) >= min(most, alike, len(records))
    assert len(chosen) <= max(len(networks), min(alike, most))


def test_who_floods_from_one_network_has_one_place_also_of_what_honest_peers_copied() -> None:
    *flood, honest = heads_of(20)
    origins: dict[Head, ProviderNetworks] = {head: {b"f" * 32: "flooder"} for head in flood}
    origins[flood[0]] = {b"f" * 32: "flooder", b"k" * 32: "keeper"}
    origins[honest] = {b"k" * 32: "keeper"}
    assert shared_out([*flood, honest], origins, 3, 2) == [flood[0], honest]


def test_an_author_that_serves_its_own_work_has_its_networks_place() -> None:
    far, near = heads_of(2)
    origins = {far: {b"k" * 32: "both", b"x" * 32: "other"}, near: {near.author: "both"}}
    assert shared_out([far, near], origins, 2, 1) == [far, near]


async def test_what_claims_more_than_its_kind_can_have_is_not_wanted(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    liar, keeper = await world.join(), await world.join()
    run, content = keeper.run, b"c" * 32
    for size in (run.checkpoint_limit(0), run.checkpoint_limit(0) + 1):
        head = replace(head_of(liar, 0, 5, content, created=float(size)), size=size)
        keeper.heads.add(head.seal(liar.node.identity))
        wanted = wanted_content(run, keeper.heads, keeper.resumes, {content: {b"k": "n"}})
        fits = size == run.checkpoint_limit(0)
        assert wanted.get(content) == (run.checkpoint_limit(0) if fits else None)
