from __future__ import annotations

import pytest

from paris_p2p.errors import UsageProblem
from paris_p2p.model import expert, router
from paris_p2p.records.objectives import OBJECTIVES
from paris_p2p.training.recipes import RECIPES, recipe


def test_every_expert_preset_has_a_recipe() -> None:
    assert RECIPES.keys() - {"mixed"} == expert.PRESETS.keys()
    assert {known.router for known in RECIPES.values()} == set(router.PRESETS.values())


def test_a_recipe_by_name() -> None:
    assert recipe("XL/2").expert.hidden == 1152


def test_a_recipe_of_several_kinds_gives_them_to_the_slots_in_turn() -> None:
    experts = recipe("mixed").experts(6)
    assert [slot.shape.hidden for slot in experts] == [768, 1152, 1024, 768, 768, 1152]
    assert {slot.objective for slot in experts} <= set(OBJECTIVES)
    assert len({slot.objective for slot in experts}) > 1


def test_a_recipe_of_one_kind_describes_no_slot() -> None:
    assert recipe("tiny").experts(8) == ()


def test_an_unknown_recipe_names_the_known() -> None:
    with pytest.raises(UsageProblem, match="tiny"):
        recipe("XXL")
