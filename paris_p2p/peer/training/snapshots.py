"""The private training states of a slot, one file each: which are kept, and which set aside.

The worker keeps one of the lineage that it trains; a takeover leaves those of before. One that was
tried and refuted is kept under another name, for whoever wants to know, and is not tried again.
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
"""States of a slot that stay when its training is taken up: each is four times its network."""


def snapshots(folder: Path) -> list[Path]:
    """Every state, the furthest first."""
    found = [path for path in folder.glob(f"{PREFIX}*{SUFFIX}") if _step(path).isdecimal()]
    return sorted(found, key=step_of, reverse=True)


def step_of(snapshot: Path) -> int:
    """The step of a state, which the name of its file tells."""
    return int(_step(snapshot))


def prune(folder: Path) -> None:
    """Let go all but the furthest MOST_KEPT."""
    for path in snapshots(folder)[MOST_KEPT:]:
        path.unlink(missing_ok=True)


def sweep_unfinished(folder: Path) -> None:
    """Remove what killed workers left half written in any slot of any run under `folder`.

    A slot is skipped while a worker is in it: it may be saving its last snapshot.
    """
    for slot in folder.glob("*/slot-*"):
        with suppress(HomeBusy), alone_in(slot):
            pass


def set_aside(folder: Path, failed: Sequence[Path]) -> Path | None:
    """Let go these states, whose first is kept under the name returned; it replaces an older one.

    None where there is none of them.
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
