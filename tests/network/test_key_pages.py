"""The tree of pages, on a board that holds few owners a key, so that it grows tall in a test."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paris_p2p.network import key_pages
from paris_p2p.network.dht import record_store
from paris_p2p.network.dht.record_store import Allowance
from paris_p2p.network.in_memory_swarm import MemoryNetwork
from paris_p2p.network.key_pages import KeyPages, read_pages
from paris_p2p.network.swarm import MAX_OWNERS, Entry, Swarm
from tests.network.worlds import LibP2PWorld

PLACES = 4
DEPTH = 10
LIFE = 100
KEY = "test/key"


class Board:
    """Keys with PLACES owners each; time stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.keys: dict[str, dict[bytes, Entry]] = {}
        self.lookups = 0

    def live(self, key: str) -> dict[bytes, Entry]:
        entries = self.keys.get(key, {})
        return {owner: entry for owner, entry in entries.items() if entry.expires > self.now}

    def put(self, key: str, entry: Entry) -> bool:
        entries = self.live(key)
        if entry.owner not in entries and len(entries) >= PLACES:
            return False
        self.keys[key] = {**entries, entry.owner: entry}
        return True


class Owner:
    """The part of the swarm contract that pages use, over a board."""

    def __init__(self, board: Board, author: bytes) -> None:
        self.board, self.author = board, author
        self.pages = KeyPages(self, DEPTH, random.Random(author))  # type: ignore[arg-type]

    async def store(self, key: str, value: bytes, expires: float) -> bool:
        return self.board.put(key, Entry(self.author, value, expires))

    async def withdraw(self, key: str) -> None:
        self.board.keys.get(key, {}).pop(self.author, None)

    async def lookup(self, key: str) -> list[Entry]:
        self.board.lookups += 1
        return list(self.board.live(key).values())

    async def renew(self) -> bool:
        return await self.pages.store(KEY, b"here", self.board.now + LIFE)


@pytest.fixture(autouse=True)
def small_pages() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_pages, "POPULATED", PLACES // 2)
        yield


class Crowd:
    """Owners who come, go in good order, die, and have their rounds in any order."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.board, self.owners, self.born = rng, Board(), list[Owner](), 0

    def come(self, count: int) -> None:
        for _ in range(count):
            self.born += 1
            self.owners.append(Owner(self.board, self.born.to_bytes(32, "big")))

    async def go(self, count: int, in_good_order: bool) -> None:
        for _ in range(min(count, len(self.owners))):
            leaver = self.owners.pop(self.rng.randrange(len(self.owners)))
            if in_good_order:
                await leaver.pages.withdraw(KEY)

    async def rounds(self, count: int) -> None:
        for _ in range(count):
            self.board.now += LIFE / 3
            self.rng.shuffle(self.owners)
            for owner in self.owners:
                await owner.renew()

    async def found(self) -> set[bytes]:
        reader = Owner(self.board, bytes(32))
        return {entry.owner for entry in await read_pages(reader, KEY, DEPTH)}  # type: ignore[arg-type]

    def alive(self) -> set[bytes]:
        return {owner.author for owner in self.owners}

    def places(self) -> dict[str, set[bytes]]:
        return {key: set(self.board.live(key)) for key in self.board.keys if self.board.live(key)}


EVENTS = st.lists(st.tuples(st.sampled_from(["come", "leave", "die"]), st.integers(1, 12)))


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
async def test_every_live_owner_is_found_and_keeps_its_place(
    events: list[tuple[str, int]], rng: random.Random
) -> None:
    crowd = Crowd(rng)
    for event, count in events:
        if event == "come":
            crowd.come(count)
        else:
            await crowd.go(count, in_good_order=event == "leave")
        await crowd.rounds(1)

    await crowd.rounds(2 * DEPTH)
    settled = crowd.places()
    await crowd.rounds(1)

    assert await crowd.found() == crowd.alive()
    assert crowd.places() == settled
    assert sum(map(len, settled.values())) == len(crowd.owners)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.randoms(use_true_random=False))
async def test_what_is_read_grows_with_the_set_only(count: int, rng: random.Random) -> None:
    crowd = Crowd(rng)
    crowd.come(count)
    await crowd.rounds(3)

    assert await crowd.found() == crowd.alive()
    assert crowd.board.lookups <= 1 + 2 * count / key_pages.POPULATED


async def test_strangers_who_fill_a_page_hide_nobody_and_may_leave_again() -> None:
    crowd = Crowd(random.Random(1))
    crowd.come(2)
    await crowd.rounds(1)
    for index in range(PLACES):
        stranger = bytes([255, index]) * 16
        crowd.board.put(KEY, Entry(stranger, b"rubbish", crowd.board.now + 2 * LIFE))
    crowd.come(5)
    await crowd.rounds(1)
    assert await crowd.found() >= crowd.alive()

    crowd.board.keys[KEY] = {
        owner: entry for owner, entry in crowd.board.live(KEY).items() if entry.value != b"rubbish"
    }
    await crowd.rounds(2)
    assert await crowd.found() == crowd.alive()


async def test_who_finds_no_place_asks_less_and_less_and_gets_the_first_that_falls_free() -> None:
    board = Board()
    late = Owner(board, bytes(32))
    late.pages = KeyPages(late, 0, random.Random(3))  # type: ignore[arg-type]
    for index in range(PLACES):
        board.put(KEY, Entry(bytes([index + 1]) * 32, b"here", 1e9))
    tried = 0
    for _ in range(200):
        skipped = late.pages._skip[KEY] > 0
        assert not await late.renew()
        tried += not skipped
    assert 200 / (2 * key_pages.MOST_ROUNDS_SKIPPED) <= tried <= 50

    board.keys[KEY].popitem()
    assert any([await late.renew() for _ in range(2 * key_pages.MOST_ROUNDS_SKIPPED)])
    assert late.pages.keys() == {KEY}
    await late.pages.withdraw(KEY)
    assert late.pages.keys() == set() and late.author not in board.live(KEY)


async def test_a_memory_swarm_of_more_than_one_page_sees_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_pages, "POPULATED", MAX_OWNERS // 2)
    world = MemoryNetwork(clock=lambda: 0.0)
    swarms = [world.join(index.to_bytes(32, "big")) for index in range(MAX_OWNERS + 40)]
    for swarm in swarms[1:]:
        await swarm.connect(swarms[0].addresses()[0])
    for swarm in swarms:
        assert await KeyPages(swarm, 1, random.Random(0)).store(KEY, b"here", 100.0)

    for reader in (swarms[0], swarms[-1]):
        found = await read_pages(reader, KEY, 1)
        assert [entry.owner for entry in found] == [swarm.author for swarm in swarms]


@pytest.mark.process
async def test_on_the_real_network_who_is_refused_goes_further_down_and_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_pages, "POPULATED", 2)
    monkeypatch.setattr(record_store, "Allowance", partial(Allowance, owners_per_key=2))
    async with LibP2PWorld() as world:
        swarms = await world.circle(4)
        owners = [KeyPages(swarm, 2, random.Random(0)) for swarm in swarms]
        for owner in owners:
            assert await owner.store(KEY, b"here", time.time() + 100)

        async def found(swarm: Swarm) -> set[bytes]:
            return {entry.owner for entry in await read_pages(swarm, KEY, 2)}

        assert any([await swarms[0].lookup(f"{KEY}/{turn}") for turn in "01"])
        assert await found(swarms[0]) == {swarm.author for swarm in swarms}

        await owners[0].withdraw(KEY)
        for owner in owners[1:]:
            assert await owner.store(KEY, b"here", time.time() + 200)
        assert await found(swarms[0]) == {swarm.author for swarm in swarms[1:]}
