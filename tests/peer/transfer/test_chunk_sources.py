"""Reputation: liars are never asked again, failures cost ever more time, deliveries forgive."""

from __future__ import annotations

import math
import random
from itertools import pairwise

from paris_p2p.peer.transfer.chunk_sources import FIRST_BAN, LONGEST_BAN, REMEMBERED, Reputation


def reputation() -> Reputation:
    return Reputation(random.Random(0))


def test_a_liar_is_never_asked_again() -> None:
    known = reputation()
    known.lied(b"liar")
    known.delivered(b"liar")
    known.failed(b"liar", 5.0)
    assert known.is_liar(b"liar")
    assert known.askable([b"liar", b"other"], 1e12) == [b"other"]


def test_each_failure_in_a_row_costs_twice_the_time_up_to_a_limit() -> None:
    known, now, bans = reputation(), 0.0, []
    for _ in range(12):
        known.failed(b"a", now)
        bans.append(known.free_at(b"a") - now)
        assert known.askable([b"a"], known.free_at(b"a") - 0.001) == []
        now = known.free_at(b"a")
        assert known.askable([b"a"], now) == [b"a"]
    assert bans[0] <= 1.2 * FIRST_BAN
    assert all(later > earlier for earlier, later in pairwise(bans[:6]))
    assert 0.8 * LONGEST_BAN <= bans[-1] <= 1.2 * LONGEST_BAN


def test_who_delivers_is_forgiven() -> None:
    known = reputation()
    for _ in range(6):
        known.failed(b"a", 0.0)
    known.delivered(b"a")
    known.failed(b"a", 1000.0)
    assert known.free_at(b"a") <= 1000.0 + 1.2 * FIRST_BAN


def test_those_that_failed_come_last() -> None:
    known = reputation()
    known.failed(b"a", 0.0)
    orders = {tuple(known.askable([b"a", b"b", b"c"], 100.0)) for _ in range(30)}
    assert orders == {(b"b", b"c", b"a"), (b"c", b"b", b"a")}


def test_made_up_sources_do_not_fill_the_memory() -> None:
    known = reputation()
    for number in range(REMEMBERED + 50):
        known.lied(number.to_bytes(4, "big"))
    assert known.free_at((0).to_bytes(4, "big")) == -math.inf
    assert known.is_liar((REMEMBERED + 49).to_bytes(4, "big"))


def test_of_equals_the_one_that_failed_longest_ago_is_asked_first() -> None:
    known = Reputation(random.Random(1))
    for key, failed in ((b"late", 50.0), (b"early", 10.0), (b"between", 30.0)):
        known.failed(key, failed)
    for _ in range(10):
        assert known.askable([b"late", b"between", b"early"], 1e6) == [
            b"early",
            b"between",
            b"late",
        ]
