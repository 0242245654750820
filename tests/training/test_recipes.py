from __future__ import annotations

import pytest

from paris_p2p.errors import UsageProblem
from paris_p2p.model import expert, router
from paris_p2p.training.recipes import RECIPES, recipe


def test_every_expert_preset_has_a_recipe() -> None:
    assert RECIPES.keys() == expert.PRESETS.keys()
    assert {known.router for known in RECIPES.values()} == set(router.PRESETS.values())


def test_a_recipe_by_name() -> None:
    assert recipe("XL/2").expert.hidden == 1152


def test_an_unknown_recipe_names_the_known() -> None:
    with pytest.raises(UsageProblem, match="tiny"):
        recipe("XXL")
