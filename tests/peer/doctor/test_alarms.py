"""Warnings of a running node: logged once, and shown while they hold."""

from __future__ import annotations

import logging

import pytest

from paris_p2p.identity import Identity
from paris_p2p.network.in_memory_swarm import MemoryNetwork, MemorySwarm
from paris_p2p.peer.doctor.alarms import MAX_SKEW, Alarms, clock_warnings, identity_warnings
from paris_p2p.peer.doctor.peer_checks import CheckState, identity_rows


@pytest.mark.parametrize(
    ("skew", "said"),
    [(None, ""), (MAX_SKEW, ""), (-MAX_SKEW, ""), (60.0, "60 s ahead of"), (-60.0, "60 s behind")],
)
def test_a_clock_is_warned_of_from_a_bound_on(skew: float | None, said: str) -> None:
    warnings = clock_warnings(skew)
    assert len(warnings) == bool(said)
    assert said in "".join(warnings)


def test_a_second_node_of_one_identity_is_warned_of_with_what_to_do() -> None:
    assert identity_warnings(doubled=False) == identity_rows(doubled=False) == []
    (warning,) = identity_warnings(doubled=True)
    assert "--home" in warning
    (row,) = identity_rows(doubled=True)
    assert row.state is CheckState.BAD and row.remedy


async def test_a_warning_is_logged_once_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    swarm = MemoryNetwork().join(Identity.generate().author)
    monkeypatch.setattr(MemorySwarm, "doubled", lambda self: True)
    alarms = Alarms(swarm)
    with caplog.at_level(logging.WARNING):
        await alarms.look()
        await alarms.look()
    assert len(alarms.all()) == len(caplog.records) == 1
