from __future__ import annotations

import math

import pytest

from paris_p2p.training.worth import objection


@pytest.mark.parametrize(
    ("measured", "clueless", "claimed", "why"),
    [
        (0.6, 2.0, None, None),
        (0.6, 2.0, 0.6, None),
        (0.62, 2.0, 0.6, None),  # rounded to bf16, measured on another device
        (0.003, 1.1, 0.001, None),  # close to nothing, where a factor says little
        (2.4, 2.0, 2.4, None),  # hardly begun
        (math.nan, 2.0, None, "not finite"),
        (math.inf, 2.0, None, "not finite"),
        (math.nan, 2.0, math.nan, "not finite"),
        (1e6, 2.0, 1e6, "an untrained network has 2"),
        (6.2, 2.0, None, "untrained network"),
        (1.2, 2.0, 0.6, "claims 0.6"),
        (1.2, 2.0, 0.0, "claims 0"),
        (0.0, 0.0, None, None),  # the router of a run of one cluster
    ],
)
def test_a_state_is_worth_a_step_unless_it_is_far_worse_than_it_should_be(
    measured: float, clueless: float, claimed: float | None, why: str | None
) -> None:
    said = objection(measured, clueless, claimed)
    assert said is None if why is None else why in (said or "")
