"""What must hold after every fault, checked on the living."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from peers.local_swarm import wait_until
from tests.chaos.arena import PATIENCE, Arena

TORCH_CACHE = "torchinductor_"
"""Of the folder that torch keeps compiled kernels in, beside whatever else is temporary."""


@dataclass(frozen=True)
class Verdict:
    """How the swarm came through one fault."""

    fault: str
    held_again: float
    """Seconds until every expert was held by a living peer."""
    heads: int
    """Published heads that were there before and are still held."""
    sampled: bool


def survive(arena: Arena, fault: str, before: dict[int, int], folder: Path | None) -> Verdict:
    """Wait for the swarm to be whole again, and say how it did; SwarmProblem where it is not.

    `before` are the heads that living peers held when the fault was over, that is those that must
    not be lost. With a `folder`, a newcomer samples too.
    """
    held_again = arena.until_held(f"every expert to be held again after: {fault}")
    wait_until(lambda: not _lost(before, arena.heads()), f"the heads after: {fault}", PATIENCE)
    anew = arena.begun_anew(before)
    assert not anew, f"work that others held was thrown away after: {fault}; {anew}"
    wait_until(arena.is_one, f"the peers to know each other after: {fault}", PATIENCE)
    wait_until(lambda: not arena.leaked(), f"processes of the dead to end after: {fault}", 90)
    if folder is not None:
        origin = arena.sample("newcomer", folder)
        lost = f"a share of the picture was lost after: {fault}; {origin['said']}"
        assert origin["lost_mass"] == 0, lost
    return Verdict(fault, held_again, len(before), folder is not None)


def left_behind(arena: Arena) -> list[Path]:
    """Sockets, temporary and half-written files that lie about once every peer has ended."""
    homes = [arena.swarm.home(name) for name in arena.volunteers]
    partial = [path for home in homes for path in home.rglob("*.partial")]
    temporary = [path for path in arena.sockets.iterdir() if not path.name.startswith(TORCH_CACHE)]
    return [*temporary, *partial]


def _lost(before: dict[int, int], now: dict[int, int]) -> list[int]:
    return [slot for slot, step in before.items() if now.get(slot, -1) < step]
