"""What a head or resume state may claim of its training."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paris_p2p.peer.shipped_run import load_shipped_run
from paris_p2p.records.head import Head
from paris_p2p.records.progress_limits import MOST_IMAGES, MOST_STEPS, impossible
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import RunManifest
from tests.records.conftest import EXAMPLES

BATCH = 64
LAST = MOST_IMAGES // BATCH

POSSIBLE = {
    "nothing yet": (0, 0),
    "full batches": (1000, 1000 * BATCH),
    "smaller batches at the end of epochs": (1000, 1000 * BATCH - 77),
    "single images": (1000, 1000),
    "the furthest": (LAST, MOST_IMAGES),
}
IMPOSSIBLE = {
    "the end of the counter of steps": (2**48, 2**48),
    "the end of the counter of images": (2**40, 2**48),
    "beyond the furthest": (MOST_STEPS + 1, MOST_STEPS + 1),
    "more images than its steps have seen": (1000, 1000 * BATCH + 1),
    "steps without images": (1000, 999),
}


@pytest.mark.parametrize("kind", ["head", "resume"])
@pytest.mark.parametrize(("step", "images"), POSSIBLE.values(), ids=POSSIBLE.keys())
def test_what_training_can_have_made(kind: str, step: int, images: int, run: RunManifest) -> None:
    record = replace(EXAMPLES[kind], step=step, images=images)
    assert isinstance(record, Head | Resume)
    assert impossible(record, run) is None


@pytest.mark.parametrize("kind", ["head", "resume"])
@pytest.mark.parametrize(("step", "images"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_what_leaves_no_room_to_train_or_was_never_trained(
    kind: str, step: int, images: int, run: RunManifest
) -> None:
    record = replace(EXAMPLES[kind], step=step, images=images)
    assert isinstance(record, Head | Resume)
    assert impossible(record, run) is not None


def test_years_of_training_fit_after_the_furthest(run: RunManifest, head: Head) -> None:
    furthest = replace(head, step=LAST, images=MOST_IMAGES)
    later = replace(furthest, step=LAST + 10**12, images=MOST_IMAGES + 10**12 * BATCH)
    assert later.parent is None


def test_the_shipped_heads_are_possible() -> None:
    shipped = load_shipped_run()
    assert {impossible(Head.unseal(sealed), shipped.run) for sealed in shipped.heads()} == {None}
