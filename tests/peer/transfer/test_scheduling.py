"""The next chunk asked of each source, on a clock that the tests set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paris_p2p.peer.transfer.scheduling import (
    BEGUN_AFTER,
    GIVEN_UP_AFTER,
    MOST_AHEAD,
    MOST_SOURCES,
    SLOW_AFTER,
    SOURCES,
    Scheduler,
)

TICK = 0.01


def chunks(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(count)]


@dataclass
class Play:
    """Sources that take so many seconds a chunk (None: for ever) work off one plan."""

    plan: Scheduler
    paces: dict[bytes, float | None]
    now: float = 0.0
    delivered: Counter[bytes] = field(default_factory=Counter)
    wasted: int = 0
    furthest_ahead: int = 0
    outstanding: Counter[bytes] = field(default_factory=Counter)

    def run(self, until: float = 1000.0) -> float:
        """Seconds until everything has arrived, or `until`."""
        queues: dict[bytes, list[bytes]] = {source: [] for source in self.paces}
        began = dict.fromkeys(self.paces, 0.0)
        for source in self.paces:
            self.plan.join(source, self.now)
        while self.plan.missing and self.now < until:
            for source, pace in self.paces.items():
                queue = queues[source]
                if not queue:
                    began[source] = self.now
                self._ask(source, queue)
                if queue and pace is not None and self.now - began[source] >= pace:
                    self._deliver(source, queue.pop(0))
                    began[source] = self.now
            self.now += TICK
        return self.now

    def _ask(self, source: bytes, queue: list[bytes]) -> None:
        batch = self.plan.take(source, self.now)
        self.outstanding.update(batch)
        still = sum(pace is None or pace > BEGUN_AFTER for pace in self.paces.values())
        assert max(self.outstanding.values(), default=0) <= 2 + still
        queue += batch
        self.furthest_ahead = max(self.furthest_ahead, len(queue))

    def _deliver(self, source: bytes, chunk: bytes) -> None:
        self.outstanding[chunk] -= 1
        if self.plan.arrived(source, chunk, self.now):
            self.delivered[source] += 1
        else:
            self.wasted += 1


def test_the_fast_get_more() -> None:
    play = Play(Scheduler(chunks(200)), {b"fast": 0.02, b"slow": 0.2})
    play.run()
    assert play.delivered[b"fast"] > 5 * play.delivered[b"slow"] > 0


def test_a_short_file_is_divided_too() -> None:
    play = Play(Scheduler(chunks(6)), {b"a": 0.1, b"b": 0.1, b"c": 0.1})
    play.run()
    assert set(play.delivered.values()) == {2}


def test_the_next_are_asked_for_before_the_last_has_arrived() -> None:
    plan = Scheduler(chunks(50))
    plan.join(b"a", 0.0)
    first = plan.take(b"a", 0.0)
    assert len(first) > 1
    for number, chunk in enumerate(first[:-1], 1):
        plan.arrived(b"a", chunk, number * 0.01)
    assert plan.take(b"a", 0.1)


def test_a_source_is_never_asked_for_far_ahead() -> None:
    play = Play(Scheduler(chunks(500)), {b"a": 0.0})
    play.run()
    assert play.furthest_ahead <= MOST_AHEAD


def test_the_last_chunks_do_not_wait_for_a_source_that_stopped() -> None:
    play = Play(Scheduler(chunks(40)), {b"fast": 0.05, b"dead": None})
    assert play.run() < 40 * 0.05 + 2 * SLOW_AFTER
    assert play.plan.missing == 0


def test_equal_sources_are_not_asked_twice() -> None:
    play = Play(Scheduler(chunks(100)), {bytes([number]): 0.1 for number in range(4)})
    play.run()
    assert play.wasted == 0


def test_a_chunk_is_asked_of_two_moving_sources_at_most() -> None:
    plan = Scheduler(chunks(1))
    for source in (b"a", b"b", b"c", b"d", b"e"):
        plan.join(source, now=0.0)
    assert plan.take(b"a", now=0.0) == chunks(1)
    assert plan.take(b"b", now=3.0) == chunks(1)
    assert plan.take(b"c", now=BEGUN_AFTER) == [], "both had hardly time to begin"
    assert plan.take(b"c", now=BEGUN_AFTER + 0.1) == chunks(1), "the first has not begun"
    plan.heard(b"b", now=6.0)
    plan.heard(b"c", now=9.0)
    assert plan.take(b"d", now=6.0 + GIVEN_UP_AFTER) == [], "two have sent a piece lately"
    assert plan.take(b"d", now=6.1 + GIVEN_UP_AFTER) == chunks(1)
    assert plan.take(b"e", now=6.2 + GIVEN_UP_AFTER) == []


def test_the_chunks_of_a_source_that_leaves_are_asked_again() -> None:
    plan = Scheduler(chunks(3))
    plan.join(b"a", 0.0)
    asked = plan.take(b"a", 0.0)
    plan.leave(b"a")
    plan.join(b"b", 1.0)
    assert plan.take(b"b", 1.0) == asked


def test_what_a_source_lacks_is_asked_of_others_only() -> None:
    plan = Scheduler(chunks(1))
    for source in (b"a", b"b"):
        plan.join(source, 0.0)
    (chunk,) = plan.take(b"a", 0.0)
    plan.lacks(b"a", chunk, 0.1)
    assert not plan.useful(b"a")
    assert plan.take(b"a", 0.2) == []
    assert plan.take(b"b", 0.2) == [chunk]


def test_a_late_second_copy_changes_nothing() -> None:
    plan = Scheduler(chunks(1))
    for source in (b"slow", b"fast"):
        plan.join(source, 0.0)
    (chunk,) = plan.take(b"slow", 0.0)
    late = 2 * SLOW_AFTER
    assert plan.take(b"fast", late) == [chunk]
    assert plan.arrived(b"fast", chunk, late + 0.1)
    assert not plan.arrived(b"slow", chunk, late + 9)
    assert plan.missing == 0


def test_more_are_wanted_while_some_are_slow_up_to_a_limit() -> None:
    plan = Scheduler(chunks(1000))
    assert plan.wanted(0.0) == SOURCES
    for number in range(MOST_SOURCES):
        if plan.wanted(100.0 * number):
            plan.join(bytes([number]), 100.0 * number)
            plan.take(bytes([number]), 100.0 * number)
    assert len(plan.sources()) == MOST_SOURCES
    assert plan.wanted(1e6) == 0


def test_no_more_sources_are_wanted_than_there_are_chunks() -> None:
    assert Scheduler(chunks(1)).wanted(0.0) == 1


def test_where_nobody_delivers_the_longest_silent_makes_room() -> None:
    plan = Scheduler(chunks(1000))
    for number in range(MOST_SOURCES):
        plan.join(bytes([number]), float(number))
    assert plan.superfluous(GIVEN_UP_AFTER) is None
    assert plan.superfluous(GIVEN_UP_AFTER + 1) == bytes([0])


def test_a_source_that_had_to_make_room_gets_more_time() -> None:
    plan = Scheduler(chunks(1000))
    for number in range(MOST_SOURCES):
        plan.join(bytes([number]), float(number), strikes=2)
    assert plan.superfluous(4 * GIVEN_UP_AFTER) is None
    assert plan.superfluous(4 * GIVEN_UP_AFTER + 1) == bytes([0])


paces = st.one_of(st.none(), st.sampled_from([0.0, 0.03, 0.3, 3.0]))


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 60),
    honest=st.sampled_from([0.02, 0.3]),
    others=st.lists(paces, max_size=5),
)
def test_one_good_source_is_enough(count: int, honest: float, others: list[float | None]) -> None:
    sources = {bytes([number]): pace for number, pace in enumerate(others)}
    play = Play(Scheduler(chunks(count)), {b"honest": honest, **sources})
    play.run()
    assert play.plan.missing == 0
    assert sum(play.delivered.values()) == count
    assert play.wasted <= count


@pytest.mark.parametrize("slow", [0.5, 5.0])
def test_a_slow_source_hardly_delays_the_end(slow: float) -> None:
    alone = Play(Scheduler(chunks(50)), {b"fast": 0.02}).run()
    both = Play(Scheduler(chunks(50)), {b"fast": 0.02, b"slow": slow}).run()
    assert both < alone + SLOW_AFTER + 1
