from __future__ import annotations

from simulator.ledger import Ledger


def test_the_ledger_counts_what_was_held_doubled_and_taken_over() -> None:
    now = [0.0]
    ledger = Ledger(clusters=2, time=lambda: now[0])

    def at(time: float) -> Ledger:
        now[0] = time
        return ledger

    at(5).begin(0)
    assert ledger.all_held is None
    at(10).begin(1)
    at(20).begin(1)
    at(30).end(1)
    at(40).end(0)
    at(70).begin(0)
    at(90).end(1)
    at(100).close()

    assert ledger.all_held == 10
    assert ledger.first_held == {0: 5, 1: 10}
    assert ledger.taken_over == [30]
    assert ledger.orphans == [10]
    assert ledger.duplicates == [(20, 10)]
    assert ledger.wasted == 10
    assert ledger.useful == (35 + 30) + 80


def test_a_double_that_never_ended_counts_until_the_end() -> None:
    now = [0.0]
    ledger = Ledger(clusters=1, time=lambda: now[0])
    ledger.begin(0)
    ledger.begin(0)
    now[0] = 50.0
    ledger.close()
    assert ledger.duplicates == [(0, 50)]
    assert ledger.wasted == 50
