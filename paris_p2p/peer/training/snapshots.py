"""The private training states of a slot, one file each: kept or set aside.

The worker keeps one snapshot of the lineage that it trains. A takeover leaves the earlier ones. A
refuted snapshot is kept under another name for inspection, and is not tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from paris_p2p.errors import HomeBusy
from paris_p2p.training.worker import alone_in

PREFIX = "snapshot-"
SUFFIX = ".safetensors"
FAILED = "failed-"

MOST_KEPT = 3
"""Most snapshots of a slot kept when its training starts: each is four times its network's size."""


def snapshots(folder: Path) -> list[Path]:
    """Every snapshot, the furthest first."""
    found = [path for path in folder.glob(f"{PREFIX}*{SUFFIX}") if _step(path).isdecimal()]
    return sorted(found, key=step_of, reverse=True)


def step_of(snapshot: Path) -> int:
    """The step of a snapshot, from its file name."""
    return int(_step(snapshot))


def prune(folder: Path) -> None:
    """Delete all but the furthest MOST_KEPT."""
    for path in snapshots(folder)[MOST_KEPT:]:
        path.unlink(missing_ok=True)


def sweep_unfinished(folder: Path) -> None:
    """Remove the half-written files of killed workers in all slots of all runs under `folder`.

    A slot with a running worker is skipped: it may be saving its last snapshot.
    """
    for slot in folder.glob("*/slot-*"):
        with suppress(HomeBusy), alone_in(slot):
            pass


def set_aside(folder: Path, failed: Sequence[Path]) -> Path | None:
    """Delete these snapshots except the first, which is renamed and replaces an older failed one.

    Returns its new path; None if none of them exists.
    """
    present = [path for path in failed if path.exists()]
    if not present:
        return None
    for old in folder.glob(f"{FAILED}*{SUFFIX}"):
        old.unlink(missing_ok=True)
    kept = present[0].with_name(FAILED + present[0].name.removeprefix(PREFIX))
    present[0].replace(kept)
    for path in present[1:]:
        path.unlink(missing_ok=True)
    return kept


def _step(snapshot: Path) -> str:
    return snapshot.stem.removeprefix(PREFIX)
