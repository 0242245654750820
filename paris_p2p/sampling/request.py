"""A sampling request, checked before anything is loaded or fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from paris_p2p.errors import UsageProblem

MAX_PROMPT = 1000
"""Characters; the text encoder reads far fewer tokens."""
MAX_IMAGES = 256
MAX_SCALE = 16
MAX_SEED = 2**53
"""All JSON readers agree on numbers below it."""
AUTO = "auto"
"""The strategy that suits the run's router: once if it reads the prompt, top-2 if it is blind."""
STRATEGIES = ("once", "top-1", "top-2", "top-k", "threshold", "full")
GUIDANCE_ROUTINGS = ("shared", "own")
"""One router decision for both branches of guidance, or one for each."""
SAMPLERS = ("euler", "heun", "unipc", "dpm++", "deis")


@dataclass(frozen=True)
class SampleRequest:
    """What to draw. Image i of the whole request starts from the noise of `seed` + i.

    An empty prompt is the null caption. Raises UsageProblem for a too long prompt and for numbers
    out of bounds.
    """

    prompts: tuple[str, ...]
    count: int = 1
    strategy: str = AUTO
    top_k: int | None = None
    """How many experts "top-k" mixes; None with every other strategy."""
    sampler: str = "dpm++"
    steps: int = 16
    """As good as 50 steps, and as near to the end of the path as 30 of Euler's: bench.samplers."""
    guidance: float = 5.0
    guidance_routing: str = "shared"
    seed: int = 0
    scale: int = 3
    """How much the pixels are enlarged."""

    def strategy_for(self, *, reading: bool) -> str:
        """The name of the strategy to sample with, for a router that reads the prompt or not."""
        if self.strategy == AUTO:
            return "once" if reading else "top-2"
        return self.strategy

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> SampleRequest:
        """The request in a JSON object. UsageProblem also for unknown fields or wrong types."""
        known = {field.name: str(field.type) for field in fields(cls)}
        for name, value in told.items():
            if name not in known:
                raise UsageProblem(f"unknown field {name!r}", f"known: {', '.join(known)}")
            if not _is(value, known[name]):
                raise UsageProblem(f"{name} has the wrong type", f"send {known[name]}")
        if "prompts" not in told:
            raise UsageProblem("there is no prompt", "say what to draw under prompts")
        return cls(**{**told, "prompts": tuple(told["prompts"])})

    def __post_init__(self) -> None:
        for prompt in self.prompts:
            _check_prompt(prompt)
        if self.count < 1 or not 1 <= len(self.prompts) * self.count <= MAX_IMAGES:
            raise UsageProblem(
                f"{len(self.prompts) * self.count} images asked for", f"ask for 1 to {MAX_IMAGES}"
            )
        if self.strategy not in (AUTO, *STRATEGIES):
            raise UsageProblem(
                f"no strategy is called {self.strategy!r}", f"use {', '.join(STRATEGIES)}"
            )
        if (self.strategy == "top-k") != (self.top_k is not None):
            raise UsageProblem(
                f"--top-k does not go with --strategy {self.strategy}",
                "give --top-k N alone, or another strategy without it",
            )
        if self.top_k is not None and self.top_k < 1:
            raise UsageProblem(f"a mixture of {self.top_k} experts", "use --top-k of 1 or more")
        if self.sampler not in SAMPLERS:
            raise UsageProblem(
                f"no sampler is called {self.sampler!r}", f"use {', '.join(SAMPLERS)}"
            )
        if not 1 <= self.steps <= 1000:
            raise UsageProblem(f"{self.steps} sampling steps asked for", "use --steps 1 to 1000")
        if not 0 <= self.guidance <= 100:
            raise UsageProblem(f"a guidance scale of {self.guidance}", "use --guidance 0 to 100")
        if self.guidance_routing not in GUIDANCE_ROUTINGS:
            raise UsageProblem(
                f"no guidance routing is called {self.guidance_routing!r}",
                f"use {' or '.join(GUIDANCE_ROUTINGS)}",
            )
        if not 0 <= self.seed < MAX_SEED:
            raise UsageProblem(f"a seed of {self.seed}", "use --seed 0 to 2^53")
        if not 1 <= self.scale <= MAX_SCALE:
            raise UsageProblem(f"a scale of {self.scale}", f"use --scale 1 to {MAX_SCALE}")

    def captions(self) -> list[str]:
        """One caption per image, prompt by prompt."""
        return [prompt for prompt in self.prompts for _ in range(self.count)]


def _is(value: Any, kind: str) -> bool:
    """Whether a JSON value fits a field of that type."""
    if kind == "tuple[str, ...]":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool):
        return False
    kinds: dict[str, type | tuple[type, ...]] = {
        "int": int,
        "int | None": (int, type(None)),
        "float": (int, float),
        "str": str,
    }
    return isinstance(value, kinds[kind])


def _check_prompt(prompt: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise UsageProblem("the prompt is not text in UTF-8", "write it in UTF-8")
    if len(prompt) > MAX_PROMPT:
        raise UsageProblem(f"the prompt has {len(prompt)} characters", f"use at most {MAX_PROMPT}")
