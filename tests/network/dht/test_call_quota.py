"""Quotas: no peer gets more than its rate, strangers share one, honest peers never notice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.network.dht.call_quota import LIGHT, NEWCOMER, Limit, Quota
from paris_p2p.network.token_bucket import Rate

EACH, TOTAL = Rate(10, 80), Rate(40, 200)
A, B = b"a" * 32, b"b" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def quota(clock: Clock, peers: int = 8) -> Quota:
    return Quota(clock, Limit(EACH, TOTAL), peers)


def drain(quota: Quota, peer: bytes) -> int:
    """Takes one at a time until refused; how many it got."""
    return next(count for count in range(10_000) if not quota.take(peer))


def test_a_newcomer_has_a_quarter_and_earns_the_rest() -> None:
    clock = Clock()
    asked = quota(clock)
    assert drain(asked, A) == NEWCOMER * EACH.burst
    clock.now = 1.0
    assert drain(asked, A) == EACH.per_second
    clock.now = 1000.0
    assert drain(asked, A) == EACH.burst


def test_a_refusal_costs_nothing() -> None:
    asked = quota(Clock())
    assert not asked.take(A, EACH.burst + 1)
    assert asked.take(A, NEWCOMER * EACH.burst)


def test_one_greedy_peer_takes_nothing_from_another() -> None:
    asked = quota(Clock())
    drain(asked, A)
    assert asked.take(B)


def test_many_identities_share_one_total() -> None:
    asked = quota(Clock(), peers=1000)
    flood = sum(drain(asked, bytes([number])) for number in range(100))
    assert flood == TOTAL.burst


def test_a_flood_does_not_reach_those_who_ask_for_little() -> None:
    clock = Clock()
    asked = quota(clock, peers=1000)
    asked.take(A)
    clock.now = 60.0
    for number in range(100):
        drain(asked, bytes([number]))
    assert drain(asked, A) == (1 - LIGHT) * EACH.burst + 1


def test_made_up_peers_do_not_fill_our_memory() -> None:
    asked = quota(Clock())
    for number in range(1000):
        asked.take(number.to_bytes(32))
    assert len(asked) == 8


def test_a_clock_that_goes_back_gives_nothing_and_breaks_nothing() -> None:
    clock = Clock()
    asked = quota(clock)
    drain(asked, A)
    clock.now = -100.0
    assert not asked.take(A)
    clock.now = -99.0
    assert drain(asked, A) == EACH.per_second


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 30), st.floats(0, 3)), max_size=60))
def test_nobody_gets_more_than_its_rate(steps: list[tuple[int, int, float]]) -> None:
    clock = Clock()
    asked = quota(clock, peers=13)
    given: dict[int, float] = {}
    for peer, amount, wait in steps:
        clock.now += wait
        if asked.take(bytes([peer]), amount):
            given[peer] = given.get(peer, 0) + amount
    assert all(most <= EACH.burst + EACH.per_second * clock.now for most in given.values())
