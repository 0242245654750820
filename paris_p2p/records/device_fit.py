"""The memory that a device needs to train a slot of a run, and the slots that suit it."""

from __future__ import annotations

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

KEPT_PER_BLOCK = 44
"""Numbers per token and unit of width that a block keeps for the backward pass: 41 to 50 measured
in networks of 1M to 19M weights."""

LIBRARIES = 450 << 20
"""Bytes of a process that has loaded torch and the libraries around it, before any network."""

ENCODED_AT_MOST = 256 << 20
"""Bytes of encoded captions that training keeps: more are encoded batch by batch."""

VOCABULARY = 49_408
TEXT_LAYERS = 12
"""Of CLIP's text towers: with their width they give the weights."""

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
    """Bytes that training `slot` takes: libraries, network, one batch, captions, text encoder.

    Estimated from the run's shapes, to within a fifth. The latents are not counted: they stay in
    the shard's file.
    """
    spec = run.router if slot == ROUTER else run.expert_spec(slot)
    return LIBRARIES + network_memory(run, spec) + _captions(run, slot) + _text_encoder(run)


def network_memory(run: RunManifest, spec: ExpertSpec | RouterSpec) -> int:
    """Bytes of a network in training: all copies of its weights, and what one batch leaves."""
    _, height, width = run.latent_shape
    tokens = (height // spec.patch) * (width // spec.patch)
    kept = KEPT_PER_BLOCK * run.recipe.batch * tokens * spec.hidden * spec.depth
    return FLOAT * (COPIES * weights(run, spec) + kept)


def weights(run: RunManifest, spec: ExpertSpec | RouterSpec) -> int:
    """About how many weights a network has: its blocks, its embeddings, its head."""
    pixels = run.latent_shape[0] * spec.patch**2
    ends = 8 * spec.hidden + 256 + spec.caption_width + 2 * pixels
    return _blocks(spec) + ends * spec.hidden


def _captions(run: RunManifest, slot: int) -> int:
    """Bytes of the captions that are kept encoded, one for each sample."""
    if slot == ROUTER and not run.router.caption_width:
        return 0
    one = FLOAT * run.text_width * (1 if slot == ROUTER else run.text_context)
    return min(ENCODED_AT_MOST, one * sum(shard.train for shard in run.shards_of(slot)))


def _text_encoder(run: RunManifest) -> int:
    """Bytes of a text tower of CLIP's kind."""
    width = run.text_width
    return FLOAT * (TEXT_LAYERS * 12 * width**2 + (VOCABULARY + run.text_context) * width)


def check_fit(run: RunManifest, slot: int, device: Device | None) -> None:
    """Raise NotAvailable when this version, or `device`, cannot train `slot`; None can train any.

    The error names the missing data, the objective, or the need.
    """
    run.check_data()
    if slot != ROUTER:
        run.check_objective(slot)
    if device is not None and least_memory(run, slot) > device.memory:
        raise NotAvailable(
            f"training {slot_name(slot)} needs about {_gib(least_memory(run, slot))} of memory "
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
    """About how many weights a network's blocks have: DiT's in a router, PixArt's in an expert."""
    each = 16 if isinstance(spec, ExpertSpec) else 18
    return each * spec.depth * spec.hidden**2


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
