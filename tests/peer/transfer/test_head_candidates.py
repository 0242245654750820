"""Available heads: those that are here at once, and none that is only announced."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.network.swarm import Stream
from paris_p2p.peer.membership import Membership
from paris_p2p.peer.transfer import head_candidates
from paris_p2p.peer.transfer.head_candidates import (
    GRACE,
    PAUSE,
    SECONDS,
    Candidates,
    find_candidates,
)
from paris_p2p.records.head import Head, ranked_heads
from tests.peer.worlds import PeerWorld, head_of


async def publish(peer: Membership, expert: int, step: int, created: float = 1000.0) -> Head:
    """A head whose content `peer` holds and serves."""
    data = bytes([expert, step])
    content = peer.node.blobs.add_bytes(data, "checkpoint", "weights.safetensors").id
    head = head_of(peer, expert, step, content, created)
    peer.heads.add(head.seal(peer.node.identity), own=True)
    await peer.announcer.content(content)
    return head


async def invent(world: PeerWorld, peer: Membership, count: int, announced: bool = False) -> None:
    """Heads far ahead whose content nobody has; `announced`: somebody says otherwise."""
    for number in range(count):
        liar = await world.join(serve=silence)
        content = bytes([255, number]) * 16
        if announced:
            await liar.announcer.content(content)
        head = head_of(liar, 0, 10**9 + number, content)
        peer.heads.add(head.seal(liar.node.identity))


async def silence(author: bytes, stream: Stream) -> None:
    await asyncio.Event().wait()


async def found_by(
    peer: Membership,
) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """The events that tell of the search, and the heads that it ends with."""
    *looking, heads = [event async for event in find_candidates(peer)]
    return looking, heads["heads"]


def steps(rows: list[dict[str, Any]]) -> list[int]:
    return [row["step"] for row in rows]


async def test_what_is_here_needs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(peer: Membership, content: bytes) -> bool:
        raise AssertionError("what comes after a head that is held is not asked for")

    monkeypatch.setattr(head_candidates, "is_served", nobody)
    world = PeerWorld(tmp_path)
    peer, other = await world.join(), await world.join()
    await publish(peer, 0, 90)
    await publish(peer, 1, 50)
    peer.heads.add((await publish(other, 0, 40)).seal(other.node.identity))

    looking, heads = await found_by(peer)

    assert looking[0]["event"] == "looking"
    assert steps(heads["0"])[0] == 90 and heads["0"][0]["held"] is True
    assert steps(heads["1"]) == [50]


async def test_invented_heads_come_after_none_and_cost_a_home_that_holds_everything_no_wait(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    await publish(peer, 0, 90)
    await invent(world, peer, 10)

    async with asyncio.timeout(PAUSE / 2):
        looking, heads = await found_by(peer)

    assert steps(heads["0"]) == [90]
    assert looking[-1] == {"event": "looking", "candidates": 10, "answering": 0}


async def test_a_better_head_that_somebody_serves_comes_before_the_one_that_is_here(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer, other = await world.join(), await world.join()
    await publish(peer, 0, 50)
    peer.heads.add((await publish(other, 0, 90)).seal(other.node.identity))
    await invent(world, peer, 3)

    _, heads = await found_by(peer)

    assert [(row["step"], row["held"], row["served"]) for row in heads["0"]] == [
        (90, False, True),
        (50, True, None),
    ]


async def test_those_who_let_wait_are_left_for_last_after_one_grace_for_all(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    await publish(peer, 0, 50)
    await invent(world, peer, 10, announced=True)

    async with asyncio.timeout(GRACE + PAUSE / 2):
        _, heads = await found_by(peer)

    assert steps(heads["0"])[0] == 50


async def test_of_a_slot_without_anything_the_search_ends_after_its_one_budget(
    tmp_path: Path,
) -> None:
    world = PeerWorld(tmp_path)
    peer = await world.join()
    await invent(world, peer, 10)

    async with asyncio.timeout(SECONDS + PAUSE):
        _, heads = await found_by(peer)

    assert heads == {"-1": [], "0": [], "1": []}


async def test_a_peer_that_comes_back_meanwhile_is_found(tmp_path: Path) -> None:
    world = PeerWorld(tmp_path)
    peer, other = await world.join(), await world.join()
    content = other.node.blobs.add_bytes(b"weights", "checkpoint", "weights.safetensors").id
    peer.heads.add(head_of(other, 0, 9, content).seal(other.node.identity))
    searching = asyncio.create_task(found_by(peer))
    await asyncio.sleep(3 * PAUSE)
    assert not searching.done()

    await other.announcer.content(content)

    _, heads = await searching
    assert steps(heads["0"]) == [9]


async def test_one_whose_provider_lets_wait_takes_no_other_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_candidates, "AT_ONCE", 2)
    world = PeerWorld(tmp_path)
    peer, other = await world.join(), await world.join()
    await invent(world, peer, 6, announced=True)
    peer.heads.add((await publish(other, 0, 9)).seal(other.node.identity))

    _, heads = await found_by(peer)

    assert steps(heads["0"])[0] == 9


def head(step: int, content: int) -> Head:
    return Head(
        run=bytes(32),
        expert=0,
        author=bytes(32),
        step=step,
        images=step,
        manifest=bytes([content]) * 32,
        size=1,
        train_loss=1.0,
        held_out_loss=1.0,
        parent=None,
        created=1.0,
    )


@given(
    st.lists(st.integers(0, 5), max_size=8),
    st.sets(st.integers(0, 5)),
    st.dictionaries(st.integers(0, 5), st.booleans()),
)
def test_what_can_be_had_comes_first_and_best_first(
    contents: list[int], held: set[int], answers: dict[int, bool]
) -> None:
    ranked = ranked_heads(head(step, content) for step, content in enumerate(contents))
    known = Candidates(
        {0: ranked},
        {bytes([content]) * 32 for content in held},
        {bytes([content]) * 32: answer for content, answer in answers.items()},
    )
    order = known.order(0)
    usable = [head for head in ranked if known.usable(head)]
    assert order[: len(usable)] == usable
    assert known.has_something(0) == bool(usable)
    assert all(answers.get(head.manifest[0], True) for head in order[len(usable) :])
    asked = known.worth_asking()
    assert len({head.manifest for head in asked}) == len(asked)
    assert not {head.manifest for head in asked} & known.held
