"""A training job: everything a worker needs, read from one JSON file and checked once.

This module does not import torch, so an invalid job is refused before torch is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from paris_p2p.errors import BadContent
from paris_p2p.records.objectives import FLOW, OBJECTIVES
from paris_p2p.records.progress_limits import MOST_IMAGES, MOST_STEPS
from paris_p2p.records.run import ROUTER, ExpertSpec, RouterSpec, TrainingSpec, slot_name

if TYPE_CHECKING:
    from paris_p2p.model.expert import LatentShape


class StartRefuted(BadContent):
    """The state to start from is worthless or not what it claims to be.

    It is raised for nothing else: a wrong shard, encoder or job says nothing about the state.
    """


LARGEST_COUNT: Final = 2**48
"""Most steps, or images, that a record can hold."""


def check_room(step: int, images: int) -> None:
    """StartRefuted for a state so far that further steps could soon not be published."""
    if step > MOST_STEPS // 2 or images > MOST_IMAGES // 2:
        raise StartRefuted(f"a state at step {step} after {images} images leaves no room to train")


@dataclass(frozen=True)
class TextEncoderReference:
    """The frozen text encoder: `kind` "content" (a path) or "hub" (a cached name)."""

    kind: str
    reference: str


@dataclass(frozen=True)
class Job:
    """One slot to train. `shards` is that slot's shard, or all K in cluster order for the router.

    `max_steps` and `max_seconds` count from the start of this job, not of the training.
    """

    slot: int
    clusters: int
    latent_shape: LatentShape
    text_context: int
    expert: ExpertSpec
    router: RouterSpec
    recipe: TrainingSpec
    shards: tuple[Path, ...]
    text_encoder: TextEncoderReference
    out_dir: Path
    objective: str = FLOW
    """What an expert is trained with."""
    base: Path | None = None
    """The weights that an expert starts from where it would start from scratch."""
    resume_snapshot: Path | None = None
    """This peer's own snapshot to continue from."""
    resume_state: Path | None = None
    """Another peer's resume state, which must be at `start_step` and `start_images`."""
    start_from: Path | None = None
    """A published checkpoint, if there is neither."""
    start_step: int = 0
    start_images: int = 0
    claimed_loss: float | None = None
    """The held-out loss that the author of the start claims."""
    max_steps: int | None = None
    max_seconds: float | None = None
    duty_cycle: int = 100
    """Per cent of the time in which training computes."""
    device: str = "auto"
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        """BadContent unless shards fit the slot, the slot fits the run, the objective is known."""
        if not ROUTER <= self.slot < self.clusters:
            raise BadContent(f"slot {self.slot} is not one of the run's {self.clusters} experts")
        needed = self.clusters if self.slot == ROUTER else 1
        if len(self.shards) != needed:
            name = slot_name(self.slot)
            raise BadContent(f"{name} needs {needed} of the run's shards, got {len(self.shards)}")
        if self.objective not in OBJECTIVES:
            raise BadContent(f"no objective is called {self.objective!r}")

    @property
    def from_scratch(self) -> bool:
        return not (self.resume_snapshot or self.resume_state or self.start_from)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The job in a JSON file; BadContent when it is not one. Unknown keys are ignored."""
        try:
            raw = json.loads(path.read_bytes())
            return cls(**{name: value for name, value in _typed(raw).items() if value is not None})
        except OSError as error:
            raise BadContent(f"cannot read the job {path}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadContent(f"{path} is not a training job: {error}") from error


def _typed(raw: Mapping[str, Any]) -> dict[str, Any]:
    channels, height, width = raw["latent_shape"]
    return {
        **{field.name: raw.get(field.name) for field in fields(Job)},
        "latent_shape": (int(channels), int(height), int(width)),
        "expert": ExpertSpec.from_body(raw["expert"]),
        "router": RouterSpec.from_body(raw["router"]),
        "recipe": TrainingSpec.from_body(raw["recipe"]),
        "shards": tuple(Path(shard) for shard in raw["shards"]),
        "text_encoder": TextEncoderReference(**raw["text_encoder"]),
        "out_dir": Path(raw["out_dir"]),
        "base": _path(raw.get("base")),
        "resume_snapshot": _path(raw.get("resume_snapshot")),
        "resume_state": _path(raw.get("resume_state")),
        "start_from": _path(raw.get("start_from")),
    }


def _path(raw: str | None) -> Path | None:
    return Path(raw) if raw else None
