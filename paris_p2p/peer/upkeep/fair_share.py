"""Whose content makes room for whose, where the quota is short: pure decisions.

Each run is entitled to an equal share of the quota. One that would stay within its share may have
content let go of runs that are over theirs; one that would not, only its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from fractions import Fraction


def held(
    named: Mapping[bytes, Collection[bytes]], sizes: Mapping[bytes, int]
) -> dict[bytes, Fraction]:
    """Bytes that each run takes, from the contents that it names and the bytes of each that are
    here. What several runs name counts in equal parts."""
    sharers = Counter(content for contents in named.values() for content in contents)
    return {
        run: sum((Fraction(sizes.get(one, 0), sharers[one]) for one in contents), Fraction())
        for run, contents in named.items()
    }


def yielding(
    taken: Mapping[bytes, Fraction], quota: int, asker: bytes | None, size: int
) -> set[bytes]:
    """The runs whose content may go so that `asker` gets `size` bytes more.

    Where nobody asks, for the quota is exceeded: those over their share, else all.
    """
    share = Fraction(quota, max(1, len(taken)))
    over = {run for run, bytes_taken in taken.items() if bytes_taken > share}
    if asker is None:
        return over or set(taken)
    return {asker} | (over if taken[asker] + size <= share else set())
