"""The names of the objectives that an expert may be trained with: `model/expert_objectives`."""

from __future__ import annotations

from typing import Final

FLOW: Final = "flow"
"""Flow matching with uniform times: the objective of every expert of a run that names none."""

OBJECTIVES: Final = (FLOW, "flow-logit-normal", "ddpm-linear", "ddpm-cosine")
"""Those that this version can train and sample."""
