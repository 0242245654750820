"""The search: finds the nearest, asks no more than needed, and is not led astray."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.network.dht.search import MAX_ASKED, Frontier, least_told

WIDTH = 4


def search(world: dict[int, list[int]], place: int, start: list[int]) -> tuple[list[int], int]:
    """Search a world in which each live node names some others; what was found, whom it asked."""
    frontier: Frontier[int] = Frontier(place, WIDTH)
    frontier.add({node: node for node in start})
    asked = 0
    while (candidate := frontier.next()) is not None:
        asked += 1
        node, peer = candidate
        assert node == peer
        if node in world:
            frontier.answered(node)
            frontier.add({name: name for name in world[node]})
    return frontier.nearest(), asked


def acquainted(nodes: list[int]) -> dict[int, list[int]]:
    """A world in which everybody knows the nodes nearest to itself, and one far away."""
    return {
        node: sorted(nodes, key=lambda other: node ^ other)[: WIDTH + 1] + nodes[:1]
        for node in nodes
    }


@given(
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=60, unique=True),
    st.integers(0, 2**16 - 1),
)
def test_with_one_circle_the_nearest_are_found(nodes: list[int], place: int) -> None:
    found, _ = search(dict.fromkeys(nodes, nodes), place, nodes[:1])
    assert found == sorted(nodes, key=lambda node: node ^ place)[:WIDTH]


def test_few_are_asked() -> None:
    rng = random.Random(0)
    nodes = rng.sample(range(2**16), 500)
    _, asked = search(acquainted(nodes), rng.randrange(2**16), nodes[:WIDTH])
    assert asked < 50


def test_made_up_neighbours_do_not_crowd_out_the_real_ones() -> None:
    ghosts = list(range(1, 50))
    world = {1000: ghosts, 2000: [1000], 3000: [2000], 4000: [3000]}
    found, _ = search(world, place=0, start=[1000, 4000])
    assert found == [1000, 2000, 3000, 4000]


def test_endless_made_up_neighbours_end() -> None:
    frontier: Frontier[int] = Frontier(0, WIDTH)
    frontier.add({2**40: 0})
    asked = 0
    while (candidate := frontier.next()) is not None:
        asked += 1
        node = candidate[0]
        frontier.answered(node)
        frontier.add({node - 1 - number: 0 for number in range(20)})
    assert asked == MAX_ASKED


def test_nobody_known_nobody_found() -> None:
    assert search({}, 0, []) == ([], 0)


def test_owners_that_one_node_tells_of_give_way_to_those_that_several_do() -> None:
    told = Counter({f"made up {number}": 1 for number in range(100)}) + Counter(a=3, b=2)
    rng = random.Random(0)
    kept = set(told) - set(least_told(told, 5, rng))
    assert len(kept) == 5 and {"a", "b"} <= kept
    assert kept != set(told) - set(least_told(told, 5, rng))
    assert least_told(told, 200, rng) == []
