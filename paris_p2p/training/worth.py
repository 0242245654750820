"""Whether a state is worth training on, by its loss on the held-out samples: a pure decision.

Anyone can sign a state. One whose averaged weights are spoilt trains on as if nothing was wrong,
and every checkpoint of it is worthless. Measuring it before the first step costs what one
evaluation costs.
"""

from __future__ import annotations

import math
from typing import Final

FAR_WORSE: Final = 3.0
"""Times the loss of knowing nothing: an honest state comes nowhere near it, overfitted or not."""

CLAIM_FACTOR: Final = 1.5
CLAIM_SLACK: Final = 0.05
"""How much worse than claimed a state may measure: the probes are the same for everybody, so that
only rounding to bf16 and the arithmetic of another device lie between the two."""


def objection(measured: float, clueless: float, claimed: float | None) -> str | None:
    """Why nobody should train on a state, in words; None when nothing speaks against it.

    Parameters
    ----------
    measured : its held-out loss.
    clueless : what knowing nothing scores on the same probes.
    claimed : what its author says it scores, where that is known.
    """
    if not math.isfinite(measured):
        return "its held-out loss is not finite"
    if measured > FAR_WORSE * clueless + CLAIM_SLACK:
        return f"its held-out loss is {measured:.4g}, where knowing nothing scores {clueless:.4g}"
    if claimed is not None and measured > CLAIM_FACTOR * claimed + CLAIM_SLACK:
        return f"its held-out loss is {measured:.4g}, where its author claims {claimed:.4g}"
    return None
