"""In which order one author's records come, by clocks that may be set back.

`created` orders the records that an author publishes of one slot. It is the author's clock, but
never behind the record before: others then take the later one for the newer one, whatever the clock
did between the two. A clock that was far ahead and came back does not bind the author for ever:
nobody has taken what it said meanwhile, so the count begins again at the present.
"""

from __future__ import annotations

TOLERANCE = 600.0
"""Seconds that the `created` of another's record may lie ahead. More than clocks differ where they
are set at all (a peer starts within seconds of the others), and no longer than an honest author
would wait until a record out of that future has passed."""

TICK = 0.001
"""Seconds from one record to the next where the clock shows no later time."""


def is_ahead(created: float, now: float) -> bool:
    """Whether a record says that it was made in the future."""
    return created > now + TOLERANCE


def created_after(previous: float | None, now: float) -> float:
    """What `created` is to be for an author's next record, after one of `previous` (or None)."""
    if previous is None or is_ahead(previous, now):
        return now
    return max(now, previous + TICK)
