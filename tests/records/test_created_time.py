"""The order of one author's records, whatever the author's clock does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paris_p2p.records.created_time import TICK, TOLERANCE, created_after, is_ahead

NOW = 1.8e9
HOUR = 3600.0

NEXT = {
    "the first": (None, NOW, NOW),
    "after an earlier one": (NOW - 60, NOW, NOW),
    "the clock stands still": (NOW, NOW, NOW + TICK),
    "the clock was set back a little": (NOW + 30, NOW, NOW + 30 + TICK),
    "the clock was set back as far as others bear": (NOW + TOLERANCE, NOW, NOW + TOLERANCE + TICK),
    "the clock had jumped an hour ahead": (NOW + HOUR, NOW, NOW),
}


@pytest.mark.parametrize(("previous", "now", "created"), NEXT.values(), ids=NEXT.keys())
def test_when_the_next_record_was_made(previous: float | None, now: float, created: float) -> None:
    assert created_after(previous, now) == created


@given(st.floats(0, 2 * HOUR), st.floats(0, 2 * HOUR))
def test_others_take_the_next_record_for_the_newer_one(before: float, after: float) -> None:
    """Wherever the clock goes from one to the other, if they took the first one at all."""
    previous, now = NOW + before, NOW + after
    created = created_after(previous, now)
    if not is_ahead(previous, now):
        assert created > previous
    assert not is_ahead(created, now + TICK)
    assert created >= now
