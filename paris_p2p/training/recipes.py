"""Named recipes: the shape of the experts and of their router, and the training settings.

Edit a copy to make a run of your own. Settings: learning_rate (AdamW's), batch (images a step), ema
(decay of the published weights' EMA), caption_dropout (share of captions replaced by the null one),
warmup (steps to full learning rate), grad_clip (largest gradient norm), snapshot_every and
publish_every (steps).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Final

from paris_p2p.errors import UsageProblem
from paris_p2p.model import expert, router
from paris_p2p.records.run import ExpertSlot, ExpertSpec, RouterSpec, TrainingSpec


@dataclass(frozen=True)
class Recipe:
    """Everything in a run's training except its data."""

    expert: ExpertSpec
    router: RouterSpec
    training: TrainingSpec
    kinds: tuple[ExpertSlot, ...] = ()
    """The kinds of experts, where they differ; () for all like `expert`, flow-matched."""

    def experts(self, clusters: int) -> tuple[ExpertSlot, ...]:
        """What each expert of a run is: the kinds in turn. () where they do not differ."""
        return tuple(islice(cycle(self.kinds), clusters))


_PAPER: Final = TrainingSpec(
    learning_rate=1e-4,
    batch=32,  # DDM splits a global batch of 256 over 8 experts
    ema=0.9999,
    caption_dropout=0.1,
    snapshot_every=500,
    publish_every=2000,
    warmup=500,
    grad_clip=1.0,
)
"""DDM's settings (arXiv 2501.05450): AdamW at 1e-4, no weight decay, EMA 0.9999."""

_LAPTOP: Final = replace(
    _PAPER,
    learning_rate=1e-3,
    batch=64,
    ema=0.999,
    warmup=100,
    snapshot_every=200,
    publish_every=1000,
)
"""For minutes to hours on a processor: small steps, and few of them."""

RECIPES: Final[Mapping[str, Recipe]] = {
    "tiny": Recipe(expert.PRESETS["tiny"], router.PRESETS["tiny"], _LAPTOP),
    "S/2": Recipe(expert.PRESETS["S/2"], router.PRESETS["S/2"], _PAPER),
    "B/2": Recipe(expert.PRESETS["B/2"], router.PRESETS["B/2"], _PAPER),
    "L/2": Recipe(expert.PRESETS["L/2"], router.PRESETS["B/2"], _PAPER),
    "XL/2": Recipe(expert.PRESETS["XL/2"], router.PRESETS["B/2"], _PAPER),
    "mixed": Recipe(
        expert.PRESETS["B/2"],
        router.PRESETS["B/2"],
        _PAPER,
        kinds=(
            ExpertSlot(expert.PRESETS["B/2"]),
            ExpertSlot(expert.PRESETS["XL/2"]),
            ExpertSlot(expert.PRESETS["L/2"], "flow-logit-normal"),
            ExpertSlot(expert.PRESETS["B/2"], "ddpm-cosine"),
        ),
    ),
}
"""`mixed` has experts for small devices and for large ones, a quarter of them of HDDM's kind."""


def recipe(name: str) -> Recipe:
    """The recipe called `name`; UsageProblem when it is unknown."""
    if name not in RECIPES:
        raise UsageProblem(f"there is no recipe {name!r}", "use " + ", ".join(RECIPES))
    return RECIPES[name]
