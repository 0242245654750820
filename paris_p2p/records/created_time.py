"""The order of one author's records, although its clock may be set back.

`created` orders the records that an author publishes of one slot. It is the time of the author's
clock, but never earlier than in the author's previous record. So the later record always counts as
the newer one. A clock that was far ahead and was corrected does not bind the author for ever: other
peers refused the records of that time, so `created` starts again at the present.
"""

from __future__ import annotations

TOLERANCE = 600.0
"""Seconds that `created` of another author's record may lie ahead. That is more than set clocks
differ, and no longer than an honest author would wait for such a time to pass."""

TICK = 0.001
"""Seconds from one record to the next when the clock shows no later time."""


def is_ahead(created: float, now: float) -> bool:
    """Whether a record is dated too far in the future."""
    return created > now + TOLERANCE


def created_after(previous: float | None, now: float) -> float:
    """`created` of an author's next record, where `previous` is that of the last one, or None."""
    if previous is None or is_ahead(previous, now):
        return now
    return max(now, previous + TICK)
