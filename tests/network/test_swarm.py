"""Expirations: each later than the one before, unless nobody can have believed that."""

from __future__ import annotations

from paris_p2p.network.swarm import MAX_LIFE, Expirations


def test_what_is_said_later_expires_later() -> None:
    expirations = Expirations()
    first = expirations.following("k", 100.0, now=0.0)
    assert expirations.following("k", 50.0, now=0.0) == first + Expirations.STEP
    assert expirations.following("other", 50.0, now=0.0) == 50.0


def test_what_was_said_with_the_clock_far_ahead_is_not_outlived() -> None:
    expirations = Expirations()
    expirations.following("k", 86_400.0 + 150.0, now=86_400.0)
    assert expirations.following("k", 150.0, now=0.0) == 150.0
    assert expirations.following("k", MAX_LIFE, now=0.0) == MAX_LIFE
