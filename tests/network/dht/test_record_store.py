"""The record store: later expirations win, refused records change nothing, every bound holds."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.identity import Identity
from paris_p2p.network.dht.record_store import LAPSE, Allowance, RecordStore
from paris_p2p.network.dht.validator import DhtRecord, sign_record


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def record(key: int = 0, owner: int = 0, expires: float = 10.0, size: int = 1) -> DhtRecord:
    return DhtRecord(bytes([key]) * 20, bytes([owner]) * 32, expires, bytes(size))


SMALL = Allowance(
    owners_per_key=3,
    records_per_owner=4,
    total_records=8,
    total_bytes=1000,
)

records = st.builds(
    record, st.integers(0, 5), st.integers(0, 5), st.floats(0, 20), st.integers(0, 200)
)
networks = st.sampled_from(["", "a", "b"])


def test_a_refused_older_record_does_not_shorten_the_newer_ones_life() -> None:
    clock = Clock()
    record_store = RecordStore(clock, steady=clock)
    assert record_store.put(record(expires=10))
    assert not record_store.put(record(expires=5))
    assert not record_store.put(record(expires=10, size=2))
    clock.now = 7
    assert record_store.under(record().key) == [record(expires=10)]


def test_what_is_held_already_counts_as_kept_and_is_not_renewed() -> None:
    clock = Clock()
    record_store = RecordStore(clock, SMALL, steady=clock)
    assert record_store.put(record(expires=2 * LAPSE))
    clock.now = LAPSE
    assert record_store.put(record(expires=2 * LAPSE))
    assert len(record_store) == 1
    assert all(record_store.put(record(owner=owner, expires=3 * LAPSE)) for owner in (1, 2))
    clock.now = LAPSE + 1
    assert record_store.put(record(owner=3, expires=3 * LAPSE))
    assert [kept.owner[0] for kept in record_store.under(record().key)] == [1, 2, 3]


def test_expired_records_make_room() -> None:
    clock = Clock()
    record_store = RecordStore(clock, SMALL, steady=clock)
    for owner in range(3):
        assert record_store.put(record(owner=owner))
    assert not record_store.put(record(owner=3))
    clock.now = 11
    assert record_store.under(record().key) == []
    assert record_store.put(record(owner=3, expires=20))
    assert len(record_store) == 1


def test_after_the_clock_was_set_back_expired_records_go_all_the_same() -> None:
    wall, steady = Clock(), Clock()
    wall.now = 100_000
    record_store = RecordStore(wall, SMALL, steady=steady)
    assert record_store.put(record(key=1, expires=wall.now + 100))
    wall.now, steady.now = 0, 5
    assert record_store.put(record(key=2, expires=10))
    wall.now, steady.now = 11, 16
    assert record_store.put(record(key=3, expires=20))
    assert len(record_store) == 1


def test_what_was_said_with_the_clock_far_ahead_gives_way_to_what_is_said_now() -> None:
    clock = Clock()
    clock.now = 100_000
    record_store = RecordStore(clock, SMALL)
    assert record_store.put(record(expires=clock.now + 100))
    clock.now = 0
    assert record_store.under(record().key) == []
    assert record_store.put(record(expires=10))
    assert record_store.under(record().key) == [record(expires=10)]


def test_who_fills_a_key_from_one_network_makes_room_for_another() -> None:
    record_store = RecordStore(Clock(), SMALL, random.Random(0))
    for owner in range(3):
        assert record_store.put(record(owner=owner), "a")
    assert record_store.put(record(owner=3), "b")
    owners = {kept.owner[0] for kept in record_store.under(record().key)}
    assert 3 in owners and len(owners) == 3


def test_nobody_is_displaced_for_a_network_that_has_as_much() -> None:
    record_store = RecordStore(Clock(), SMALL, random.Random(0))
    for owner, network in enumerate("abc"):
        assert record_store.put(record(owner=owner), network)
    assert not any(record_store.put(record(owner=3), network) for network in "abcd")
    assert [kept.owner[0] for kept in record_store.under(record().key)] == [0, 1, 2]


def test_a_place_is_kept_by_renewing_it() -> None:
    """A record that lives an hour holds its place against others for LAPSE seconds only."""
    clock = Clock()
    record_store = RecordStore(clock, SMALL, random.Random(0), steady=clock)
    for owner in range(3):
        assert record_store.put(record(owner=owner, expires=3600), "a")
    clock.now = LAPSE - 1
    assert not record_store.put(record(owner=3, expires=3600), "a")
    assert record_store.put(record(owner=0, expires=3601), "a")
    assert record_store.put(record(owner=2, expires=3601), "a")
    clock.now = LAPSE + 1
    assert record_store.put(record(owner=3, expires=3600), "a")
    assert {kept.owner[0] for kept in record_store.under(record().key)} == {0, 2, 3}


def test_a_full_shelf_is_shared_by_network_too() -> None:
    record_store = RecordStore(Clock(), SMALL, random.Random(0))
    for number in range(SMALL.total_records):
        assert record_store.put(record(key=number, owner=number), "a")
    mine = [record(key=100 + number, owner=100 + number % 2) for number in range(4)]
    assert all(record_store.put(one, "b") for one in mine)
    assert len(record_store) <= SMALL.total_records
    assert all(record_store.under(one.key) == [one] for one in mine)


def test_a_renewal_must_fit_too() -> None:
    record_store = RecordStore(Clock(), SMALL)
    kept = [record(key, size=0) for key in range(4)]
    assert all(record_store.put(one) for one in kept)
    larger = [record(key, expires=11, size=300) for key in range(4)]
    assert [record_store.put(one) for one in larger] == [True, True, False, False]


def test_a_flood_of_made_up_owners_stays_within_all_bounds() -> None:
    clock, allowance = Clock(), Allowance(total_records=500, total_bytes=60_000)
    record_store = RecordStore(clock, allowance, random.Random(0), steady=clock)
    rng = random.Random(1)
    for number in range(20_000):
        clock.now += 0.01
        made_up = DhtRecord(rng.randbytes(20), number.to_bytes(32), clock.now + 3600, bytes(100))
        record_store.put(made_up, f"network {number % 300}")
    assert len(record_store) <= 500
    assert sum(len(places) for places in record_store._places.values()) == len(record_store)
    assert sum(record_store._held.values()) == len(record_store) and len(record_store._held) <= 500
    assert record_store._bytes <= 60_000
    assert (
        sum(record_store._shares.values()) == len(record_store) and len(record_store._shares) <= 300
    )


def test_a_full_shelf_still_renews() -> None:
    record_store = RecordStore(Clock(), SMALL)
    for key in range(3):
        for owner in range(3):
            record_store.put(record(key, owner))
    assert len(record_store) == SMALL.total_records
    assert not record_store.put(record(key=5))
    assert record_store.put(record(0, 0, expires=15))


def test_in_a_full_key_a_tombstone_makes_room_and_a_live_record_does_not() -> None:
    clock = Clock()
    record_store = RecordStore(clock, SMALL, steady=clock)
    signer = Identity.generate()
    tombstone = sign_record(signer, record().key, b"", 10.0)
    for item in (record(owner=1), tombstone, record(owner=2)):
        assert record_store.put(item)
    assert record_store.put(record(owner=3))
    assert [one.owner for one in record_store.under(record().key)] == [
        bytes([i]) * 32 for i in (1, 2, 3)
    ]
    assert not record_store.put(record(owner=4))
    assert len(record_store) == 3


@given(st.lists(st.tuples(records, st.floats(0, 3), networks)))
def test_the_bounds_always_hold(steps: list[tuple[DhtRecord, float, str]]) -> None:
    clock = Clock()
    record_store = RecordStore(clock, SMALL, steady=clock)
    newest: dict[tuple[bytes, bytes], float] = {}
    for item, wait, network in steps:
        clock.now += wait
        place = (item.key, item.owner)
        before = {one.owner: one for one in record_store.under(item.key)}
        if record_store.put(item, network):
            old = before.get(item.owner)
            assert old is None or old.expires < item.expires or old == item
            newest[place] = item.expires
        kept = [kept for key in range(6) for kept in record_store.under(bytes([key]) * 20)]
        assert all(newest[one.key, one.owner] == one.expires > clock.now for one in kept)
        assert len(kept) <= len(record_store) <= SMALL.total_records
        assert sum(one.size for one in kept) <= SMALL.total_bytes
