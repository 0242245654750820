"""From noise to latents: steps along the mixture's velocity, guided by the caption.

The ODE dx/dt = v(x, t) is followed from t = 1 (noise) to t = 0 (data) by an integrator. At each
call of the velocity the router decides, from (x_t, t) and from the caption if it reads. Guidance
(arXiv 2207.12598) has two branches: v = v_null + s (v_text - v_null). One decision serves both, or
each has its own: with the caption, and without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Generator, Tensor

from paris_p2p.errors import BadContent
from paris_p2p.model.expert import LatentShape
from paris_p2p.model.integrators import Integrator, StepListener, euler
from paris_p2p.model.mixture import ExpertWeights, Strategy, expert_weights, mixture_velocity
from paris_p2p.model.objective import Classifier, Reader, Text, VelocityField
from paris_p2p.records.run import ROUTER, slot_name

MOST_ANSWER: Final = 1e5
"""Trained networks' logits and velocities stay far below this: latents have unit std."""

ExpertLoader = Callable[[int], VelocityField | None]
"""Returns the expert with that index, ready to answer, or None when it is not available."""


class BadAnswer(BadContent):
    """A slot's network loaded, but its answers are numbers that no trained network gives."""

    def __init__(self, slot: int) -> None:
        super().__init__(
            f"the {slot_name(slot)} answers with numbers that are not finite or absurd"
        )
        self.slot = slot


@dataclass(frozen=True)
class Sample:
    """Latents and the router's decisions at every call of the velocity.

    (S calls, N images, K experts.) All integrators call it once a step, except Heun's.
    """

    latents: Tensor
    """(N, C, h, w)"""
    weights: Tensor
    """(S, N, K): each expert's share of each call."""
    lost_mass: Tensor
    """(S, N): the probability the router gave to experts that were missing."""


def draw_noise(count: int, latent_shape: LatentShape, seed: int) -> Tensor:
    """Standard normal (N, C, h, w); image i depends on `seed` + i alone, drawn on the CPU."""
    return torch.stack(
        [
            torch.randn(latent_shape, generator=Generator().manual_seed(seed + image))
            for image in range(count)
        ]
    )


def guided_velocity(
    expert: VelocityField, x: Tensor, t: Tensor, text: Text, null: Text, guidance: float
) -> Tensor:
    """v_null + `guidance` (v_text - v_null), with both branches in one call of the expert.

    `null` is the null caption (1, L, D). A guidance scale of 1 is the conditional velocity.
    """
    if guidance == 1:
        return expert(x, t, text.tokens, text.mask)
    blank = null.repeat(len(x))
    both = expert(
        torch.cat([x, x]),
        torch.cat([t, t]),
        torch.cat([text.tokens, blank.tokens]),
        torch.cat([text.mask, blank.mask]),
    )
    conditional, unconditional = both.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


@dataclass
class EnsembleSampler:
    """The router and the experts it selects, each loaded when it is first needed.

    `null` is the encoded empty caption (1, L, D). An expert for which the loader returns None is
    masked from then on, and its probability counts as lost mass. `available` (K,) says beforehand
    which experts exist. `read` is None for a blind router. `own_routing` lets the unconditional
    branch of guidance follow p(k | x_t, t) instead of the captions' decision.
    """

    router: Classifier
    load_expert: ExpertLoader
    null: Text
    available: Tensor
    read: Reader | None = None
    strategy: Strategy = field(default_factory=lambda: Strategy.named("top-2"))
    guidance: float = 1.0
    own_routing: bool = False
    integrator: Integrator = euler
    _experts: dict[int, VelocityField] = field(default_factory=dict, init=False)

    @torch.inference_mode()
    def sample(
        self, text: Text, noise: Tensor, steps: int, on_step: StepListener | None = None
    ) -> Sample:
        """Latents for captions `text` (N, L, D) from `noise` (N, C, h, w).

        NotAvailable when no expert is available, BadAnswer when an answer is not finite or absurd.
        The same inputs give the same latents. Everything stays on `noise`'s device.
        """
        decisions: list[ExpertWeights] = []
        evidence = None if self.read is None else self.read(text)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            if self.strategy.once and decisions:
                decision = decisions[0]
            else:
                logits = self.router(x, t)
                decision = self._decide(logits if evidence is None else logits + evidence)
            decisions.append(decision)
            if self.own_routing and self.guidance != 1:
                blind = self._decide(self.router(x, t))
                conditional = self._mixed(decision, x, t, text)
                unconditional = self._mixed(blind, x, t, self.null.repeat(len(x)))
                return unconditional + self.guidance * (conditional - unconditional)
            return self._mixed(decision, x, t, text, self.guidance)

        latents = self.integrator(velocity, noise, steps, on_step)
        return Sample(
            latents,
            torch.stack([decision.weights for decision in decisions]),
            torch.stack([decision.lost_mass for decision in decisions]),
        )

    def _mixed(
        self, decision: ExpertWeights, x: Tensor, t: Tensor, text: Text, guidance: float = 1.0
    ) -> Tensor:
        """The mixture's velocity, each expert's guided by itself."""

        def answer(expert: int, rows: Tensor) -> Tensor:
            field = self._experts[expert]
            asked = x[rows], t[rows], text[rows]
            return _sound(guided_velocity(field, *asked, self.null, guidance), expert)

        return mixture_velocity(decision.weights, answer, like=x)

    def _decide(self, logits: Tensor) -> ExpertWeights:
        """One decision from logits (N, K), with every expert that it selects loaded."""
        _sound(logits, ROUTER)
        while True:
            available = self.available.to(logits.device)
            decision = expert_weights(logits, self.strategy, available)
            if all(self._load(expert) for expert in decision.called()):
                return decision

    def _load(self, expert: int) -> bool:
        """Whether the expert is available; one that is not is masked from now on."""
        if expert in self._experts:
            return True
        loaded = self.load_expert(expert)
        if loaded is None:
            self.available = self.available.clone()
            self.available[expert] = False
            return False
        self._experts[expert] = loaded
        return True


def _sound(answer: Tensor, slot: int) -> Tensor:
    """The answer of a slot's network; BadAnswer when it is not finite or absurd."""
    if not bool((answer.abs() <= MOST_ANSWER).all()):
        raise BadAnswer(slot)
    return answer
