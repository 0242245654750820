"""Whether a state is worth training on, by its loss on the held-out samples: a pure decision.

Anyone can sign a state. A state whose EMA weights are spoilt trains on as if nothing was wrong, and
all of its checkpoints are worthless. Measuring it before the first step costs one evaluation.
"""

from __future__ import annotations

import math
from typing import Final

FAR_WORSE: Final = 3.0
"""Times an untrained network's loss. An honest state stays far below, overfitted or not."""

CLAIM_FACTOR: Final = 1.5
CLAIM_SLACK: Final = 0.05
"""How much worse than claimed a state may measure. The probes are the same for everybody, so only
rounding to bf16 and the arithmetic of another device cause a difference."""


def objection(measured: float, clueless: float, claimed: float | None) -> str | None:
    """Why nobody should train on a state, in words; None when there is no objection.

    Parameters
    ----------
    measured : its held-out loss.
    clueless : the loss of an untrained network on the same probes.
    claimed : the loss that its author claims, where that is known.
    """
    if not math.isfinite(measured):
        return "its held-out loss is not finite"
    if measured > FAR_WORSE * clueless + CLAIM_SLACK:
        return f"its held-out loss is {measured:.4g}, where an untrained network has {clueless:.4g}"
    if claimed is not None and measured > CLAIM_FACTOR * claimed + CLAIM_SLACK:
        return f"its held-out loss is {measured:.4g}, where its author claims {claimed:.4g}"
    return None
