"""The decisions about what to keep: every promise as a property."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.peer.keeping import (
    Stored,
    left,
    outranked,
    own_content,
    superseded,
    to_spare,
    wanted_content,
    worth_copying,
)
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
    chosen = to_spare(others, sizes, replicas, needed)
    assert all(others[content] >= replicas for content in chosen)
    freed = [sizes[content] for content in chosen]
    possible = sum(sizes[content] for content in others if others[content] >= replicas)
    assert bool(chosen) <= (needed > 0)
    if 0 < needed <= possible:
        assert sum(freed) >= needed > sum(freed[:-1])
    else:
        assert chosen == []


async def test_only_the_first_heads_of_a_slot_are_wanted(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    keeper = await world.join()
    for step in (5, 8, 9):
        author = await world.join()
        head = head_of(author, 0, step, bytes([step]) * 32)
        keeper.heads.add(head.seal(author.identity))

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
        me.heads.add(head.seal(peer.identity))
    assert own_content(me.identity.author, me.heads, me.resumes) == {bytes([2]) * 32}
