"""Limits on the steps and images that heads and resume states may claim.

A peer that continues from a record counts on from its numbers. A record at the maximum of its
fields would leave no room for the next one, so at most a quarter of that maximum counts. This is
far beyond any real training: at 1,000 steps a second, MOST_STEPS take two thousand years.
"""

from __future__ import annotations

from paris_p2p.records.head import Head
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest

MOST_STEPS = 2**46
MOST_IMAGES = 2**46
"""A quarter of the fields' maximum."""


def impossible(record: Head | Resume, run: RunManifest) -> str | None:
    """Why the run's recipe cannot have produced this record, in words; None when it can.

    A step sees at most one batch of images, fewer at the end of an epoch, and at least one.
    """
    if record.step > MOST_STEPS:
        return f"it claims {record.step} steps, which leaves no room to train on"
    if record.images > min(MOST_IMAGES, record.step * run.recipe.batch):
        return f"it claims {record.images} images in {record.step} steps"
    if record.images < record.step:
        return f"it claims {record.step} steps and only {record.images} images"
    return None
