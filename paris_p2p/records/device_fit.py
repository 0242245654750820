"""The memory that a device needs to train a slot of a run, and the slots that suit it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paris_p2p.errors import NotAvailable
from paris_p2p.records.run import (
    ROUTER,
    ExpertSpec,
    RouterSpec,
    RunManifest,
    slot_name,
)

COPIES = 5
"""Copies of a weight in training: itself, its gradient, AdamW's two moments, its EMA."""

FLOAT = 4
"""Bytes of one number in training."""

KEPT_PER_BLOCK = 16
"""Numbers per token and unit of width that a block keeps for the backward pass: inputs of its two
attentions and its feed-forward layer (8), what the attentions multiply (6), the residuals (2)."""

STRONGEST_BIAS = 2.0
"""Exponent of the shard's size by which the slowest device prefers small shards."""


@dataclass(frozen=True)
class Device:
    """The device a peer trains on.

    memory : bytes that training may use.
    speed : training speed relative to a common device of the run; 0.5 is half as fast.
    """

    memory: int
    speed: float = 1.0


def least_memory(run: RunManifest, slot: int) -> int:
    """Bytes without which `slot` cannot be trained: weights, one batch, the samples.

    A lower bound from the run's shapes. A device with less memory fails for certain; one with just
    as much may still fail.
    """
    spec = run.router if slot == ROUTER else run.expert_spec(slot)
    _, height, width = run.latent_shape
    tokens = (height // spec.patch) * (width // spec.patch)
    blocks = _blocks(spec)
    kept = KEPT_PER_BLOCK * run.recipe.batch * tokens * spec.hidden * spec.depth
    return FLOAT * (COPIES * blocks + kept) + samples_size(run, slot)


def samples_size(run: RunManifest, slot: int) -> int:
    """Bytes of the int8 latents that training `slot` holds: its shard's, or all for the router."""
    samples = sum(shard.train + shard.held_out for shard in run.shards_of(slot))
    return math.prod(run.latent_shape) * samples


def check_fit(run: RunManifest, slot: int, device: Device | None) -> None:
    """Raise NotAvailable when this version, or `device`, cannot train `slot`; None can train any.

    The error names the missing data, the objective, or the need.
    """
    run.check_data()
    if slot != ROUTER:
        run.check_objective(slot)
    if device is not None and least_memory(run, slot) > device.memory:
        raise NotAvailable(
            f"training {slot_name(slot)} needs at least {_gib(least_memory(run, slot))} of memory "
            f"and this device has {_gib(device.memory)} for it",
            "free some, choose a smaller expert, or use a machine with more",
        )


def fits(run: RunManifest, slot: int, device: Device | None) -> bool:
    """Whether `check_fit` has no objection."""
    try:
        check_fit(run, slot, device)
    except NotAvailable:
        return False
    return True


def liking(run: RunManifest, slot: int, device: Device | None) -> float:
    """The weight, over 0, that `device` gives an expert among those that fit it.

    In proportion to the expert's weights: small experts are left to small devices. A slower device
    favours small shards more: it could not get through large ones in a reasonable time.
    """
    if device is None:
        return 1.0
    size = float(_blocks(run.expert_spec(slot)))
    if device.speed >= 1:
        return size
    bias = min(1 / max(device.speed, 1e-9) - 1, STRONGEST_BIAS)
    samples = sum(shard.train for shard in run.shards_of(slot))
    return size * float((1 + samples) ** -bias)


def _blocks(spec: ExpertSpec | RouterSpec) -> int:
    """About how many weights a network's blocks have."""
    return 16 * spec.depth * spec.hidden**2


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
