"""Samples with a run's ensemble: router first, then only the experts that it selects.

Content comes through `Contents`, so this module is independent of network and store. A network that
answers with absurd numbers is refuted (`checkpoints`), and sampling starts again without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import torch
from PIL import Image
from torch import Tensor

from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.model.encoders.autoencoder import Autoencoder
from paris_p2p.model.encoders.hub import load_hub_autoencoder, load_hub_text_encoder
from paris_p2p.model.encoders.stored import load_stored_autoencoder, load_stored_text_encoder
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.expert_objectives import EXPERT_OBJECTIVES
from paris_p2p.model.integrators import INTEGRATORS, StepListener
from paris_p2p.model.mixture import Strategy
from paris_p2p.model.objective import Text, VelocityField
from paris_p2p.model.router import Router
from paris_p2p.model.sampler import (
    BadAnswer,
    EnsembleSampler,
    Sample,
    draw_noise,
)
from paris_p2p.records.run import ROUTER, Artefact, RunManifest, run_id, slot_name
from paris_p2p.sampling.checkpoints import Checkpoints, Key, Network
from paris_p2p.sampling.contents import Contents, HeadRow
from paris_p2p.sampling.networks import Networks, machine_share
from paris_p2p.sampling.pictures import Picture
from paris_p2p.sampling.request import SampleRequest

log = logging.getLogger(__name__)

Encoder = TypeVar("Encoder", Autoencoder, TextEncoder)

PROBE_STEPS: Final = 2
"""Steps of a path on which an expert is tried."""


class Ensemble:
    """A run's networks, fetched when first needed and remembered.

    Parameters
    ----------
    sealed_run : the run's signed manifest.
    heads : per slot (as text) its candidate heads, best first; a refuted candidate is passed over.
    networks : networks that were built before and may be used again; None for none.
    """

    def __init__(
        self,
        sealed_run: bytes,
        heads: Mapping[str, Sequence[HeadRow]],
        contents: Contents,
        networks: Networks | None = None,
    ) -> None:
        self.run_id = run_id(sealed_run)
        self.run = run = RunManifest.unseal(sealed_run)
        self._contents = contents
        self._networks = networks or Networks(machine_share())
        self.checkpoints = Checkpoints(run, self.run_id, heads, contents, self._networks)
        self._experts: dict[int, Network] = {}
        self.router = self._load_router()
        self.text_encoder = self._kept_encoder(
            run.text_encoder, load_stored_text_encoder, load_hub_text_encoder
        )
        if self.text_encoder.width != run.text_width:
            raise BadContent(
                f"the run's text encoder gives tokens of width {self.text_encoder.width}, and its "
                f"networks read {run.text_width}",
                "the run's manifest is wrong: ask its author",
            )
        self.autoencoder = self._kept_encoder(
            run.autoencoder, load_stored_autoencoder, load_hub_autoencoder
        )

    def sample(self, request: SampleRequest, on_step: StepListener | None = None) -> list[Picture]:
        """The pictures of a request. NotAvailable when no expert can be had."""
        sample = self.latents(request, on_step)
        images = self._decode(sample.latents)
        return [
            Picture(caption, image, self._provenance(request, caption, index, sample))
            for index, (caption, image) in enumerate(zip(request.captions(), images, strict=True))
        ]

    def latents(self, request: SampleRequest, on_step: StepListener | None = None) -> Sample:
        """The latents of a request, not decoded, with the experts' weights.

        When a head is refuted on the way, sampling starts again without it.
        """
        for prompt in request.prompts:
            if self.text_encoder.truncated(prompt):
                log.warning(
                    "the prompt is longer than the text encoder reads and is cut: %r", prompt
                )
        while True:
            try:
                return self._sampled(request, on_step)
            except BadAnswer as error:
                self._replace(error.slot, error)

    def prove(self, expert: int) -> bool:
        """Whether an expert can be had that answers soundly, as does the router beside it.

        Afterwards `checkpoints` has the files of both. The expert's network is let go.
        """
        _, null = self._texts([])
        noise = draw_noise(1, self.checkpoints.latent_shape, seed=0)
        only = torch.arange(self.run.clusters) == expert
        while self._expert(expert) is not None:
            sampler = EnsembleSampler(self.router, self._expert, null, only)
            try:
                sampler.sample(null, noise, PROBE_STEPS)
            except BadAnswer as error:
                self._replace(error.slot, error)
            else:
                del self._experts[expert]
                return True
        return False

    def _sampled(self, request: SampleRequest, on_step: StepListener | None) -> Sample:
        captions = request.captions()
        text, null = self._texts(captions)
        sampler = EnsembleSampler(
            router=self.router,
            load_expert=self._expert,
            null=null,
            available=self._available(),
            read=self.router.read if self._reading else None,
            strategy=Strategy.named(self._strategy(request), request.top_k or 1),
            guidance=request.guidance,
            own_routing=request.guidance_routing == "own",
            integrator=INTEGRATORS[request.sampler],
        )
        noise = draw_noise(len(captions), self.checkpoints.latent_shape, request.seed)
        return sampler.sample(text, noise, request.steps, on_step)

    @property
    def _reading(self) -> bool:
        return self.run.router.caption_width > 0

    def _strategy(self, request: SampleRequest) -> str:
        return request.strategy_for(reading=self._reading)

    def _available(self) -> Tensor:
        """Whether each expert (K,) has a head left to try."""
        return torch.tensor([self.checkpoints.known(k) for k in range(self.run.clusters)])

    def _expert(self, expert: int) -> VelocityField | None:
        try:
            self.run.check_objective(expert)
            if expert not in self._experts:
                self._experts[expert] = self.checkpoints.network(expert)
            objective = EXPERT_OBJECTIVES[self.run.objective(expert)]
            return objective.as_velocity(self._experts[expert])
        except NotAvailable as error:
            log.warning("%s; its share is lost", error)
            self.checkpoints.give_up(expert)
            return None

    def _load_router(self) -> Router:
        return cast("Router", self.checkpoints.network(ROUTER))

    def _replace(self, slot: int, error: BadContent) -> None:
        """Refute the head that a slot's network came from, and load the next."""
        self.checkpoints.refute(slot, error)
        if slot == ROUTER:
            self.router = self._load_router()
        else:
            del self._experts[slot]
            self._expert(slot)

    def _kept_encoder(
        self,
        artefact: Artefact,
        load: Callable[[Path], Encoder],
        load_hub: Callable[[str], Encoder],
    ) -> Encoder:
        """A frozen network of the run, built unless it is kept."""
        key: Key = f"{artefact.kind} {load.__name__}", artefact.reference
        kept = self._networks.get(key)
        if kept is None:
            kept = _encoder(artefact, self._contents, load, load_hub)
            self._networks.keep(key, kept)
        return cast("Encoder", kept)

    @torch.inference_mode()
    def _texts(self, captions: Sequence[str]) -> tuple[Text, Text]:
        """The captions (N, L, D) and the null caption (1, L, D), as long as the longest."""
        ids = self.text_encoder.tokenize([*captions, ""])
        text = Text(self.text_encoder.encode(ids), self.text_encoder.mask(ids)).trimmed()
        return text[slice(-1)], text[slice(-1, None)]

    @torch.inference_mode()
    def _decode(self, latents: Tensor) -> list[Image.Image]:
        pixels = self.autoencoder.decode(latents)
        if not bool(pixels.isfinite().all()):
            raise BadContent(
                "the run's autoencoder decodes these latents to values that are not finite",
                "use another --guidance or --seed; if none helps, the run's autoencoder is broken",
            )
        levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return [Image.fromarray(level.permute(1, 2, 0).numpy()) for level in levels]

    def _provenance(
        self, request: SampleRequest, caption: str, index: int, sample: Sample
    ) -> dict[str, Any]:
        weights = sample.weights[:, index].mean(dim=0)
        return {
            "run": {"name": self.run.name, "id": self.run_id.hex()},
            "prompt": caption,
            "seed": request.seed + index,
            "sampler": request.sampler,
            "steps": request.steps,
            "guidance": request.guidance,
            "guidance_routing": request.guidance_routing,
            "router": "reads the prompt" if self._reading else "blind",
            "strategy": self._strategy(request),
            "top_k": request.top_k,
            "expert_weights": {
                str(k): round(float(w), 4) for k, w in enumerate(weights) if float(w) > 0
            },
            "lost_mass": round(float(sample.lost_mass[:, index].mean()), 4),
            "heads": {
                slot_name(slot): {name: head[name] for name in ("author", "step", "manifest")}
                for slot, head in sorted(self.checkpoints.used.items())
            },
        }


def _encoder(
    artefact: Artefact,
    contents: Contents,
    load: Callable[[Path], Encoder],
    load_hub: Callable[[str], Encoder],
) -> Encoder:
    """A frozen network of the run, from the swarm or by name from a hub's cache."""
    if artefact.kind == "hub":
        if Path(artefact.reference).exists():
            raise BadContent(
                f"the run's encoder {artefact.reference} is also the name of a file in "
                f"{Path.cwd()}",
                "Move that file elsewhere: a run's encoders never come from it",
            )
        return load_hub(artefact.reference)
    return load(contents.fetch(artefact.reference))
