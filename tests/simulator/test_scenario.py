"""The properties that leases are made for, shown on 200 peers and 8 experts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from paris_p2p.peer.training.claiming import Claimant
from paris_p2p.records.claim import GRACE, LEASE, RENEW, SETTLE
from simulator.network import REQUEST_TIMEOUT
from simulator.scenario import SCENARIOS, Outcome, Scenario, simulate

PEERS, CLUSTERS = 200, 8
HEAL = SCENARIOS["partition"].parted[1] - SCENARIOS["partition"].parted[0]  # type: ignore[index]


@cache
def outcome(name: str, seed: int = 1) -> Outcome:
    return simulate(SCENARIOS[name], PEERS, CLUSTERS, seed)


@pytest.mark.parametrize("name", ["calm", "loss", "partition", "crash"])
def test_every_expert_is_held_soon_and_again_within_two_leases_of_a_crash(name: str) -> None:
    shown = outcome(name)
    assert shown.all_held is not None
    assert shown.all_held < LEASE
    assert len(shown.taken_over) >= CLUSTERS // 2
    assert max(shown.taken_over) < 2 * LEASE
    assert shown.orphans == ()


def test_nobody_works_twice_in_a_calm_swarm() -> None:
    assert outcome("calm").duplicated < 0.01


def test_losses_make_work_double_for_a_few_renewals_at_most() -> None:
    shown = outcome("loss")
    assert shown.duplicated < 0.03
    assert all(lasted < 3 * RENEW for lasted in shown.duplicates)


def test_a_partition_doubles_work_until_it_heals_and_not_much_longer() -> None:
    shown = outcome("partition")
    assert shown.duplicated > 0.1
    assert max(shown.duplicates) < HEAL + 2 * (RENEW + SETTLE + REQUEST_TIMEOUT)


def test_sybils_that_make_no_steps_do_not_keep_experts_from_being_trained() -> None:
    shown = simulate(SCENARIOS["sybils"], PEERS, CLUSTERS, seed=1)
    assert shown.all_held is not None
    assert shown.all_held < GRACE + 2 * LEASE
    assert len(shown.taken_over) >= CLUSTERS


def test_a_free_peer_that_waits_alone_takes_over_in_time() -> None:
    shown = simulate(replace(SCENARIOS["calm"], lasts=400.0), CLUSTERS + 2, CLUSTERS, seed=1)
    assert shown.taken_over
    assert max(shown.taken_over) < 2 * LEASE


def test_a_bug_in_what_is_driven_ends_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Claimant, "acquire", broken)
    with pytest.raises(ZeroDivisionError):
        simulate(Scenario("brief", lasts=60.0), 4, 2, seed=1)


def test_the_same_seed_gives_the_same_result_and_another_does_not() -> None:
    brief = Scenario("brief", lasts=300.0, loss=0.1, sybils=0.05)
    one, again, other = (replace(simulate(brief, 60, 8, seed), took=0.0) for seed in (1, 1, 2))
    assert one == again
    assert one.first_held != other.first_held
