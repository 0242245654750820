"""What heads and resume states can claim of their training, so that it can go on after them.

Whoever continues from a record counts on from its numbers. One at the end of what a record can hold
would leave no room for the next: so a quarter of that is the most that counts. It is far beyond any
training there is: at 1,000 steps a second, MOST_STEPS take two thousand years.
"""

from __future__ import annotations

from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest

MOST_STEPS = 2**46
MOST_IMAGES = 2**46
"""A quarter of what the fields can hold."""


def impossible(record: Head | Resume, run: RunManifest) -> str | None:
    """Why training by the run's recipe never made this record, in words; None when it may have.

    A step sees one batch of images, less at the end of an epoch, and one image at least.
    """
    if record.step > MOST_STEPS:
        return f"it claims {record.step} steps, which leaves no room to train on"
    if record.images > min(MOST_IMAGES, record.step * run.recipe.batch):
        return f"it claims {record.images} images in {record.step} steps"
    if record.images < record.step:
        return f"it claims {record.step} steps and only {record.images} images"
    return None
