"""A prompt becomes a picture: router first, then only the experts it calls for.

This runs in the caller's process, with torch; content comes through a function that fetches by
id, so that this module knows no network and any store can feed it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor

from paris_p2p.errors import BadContent, NotAvailable, ParisError
from paris_p2p.model.encoders.autoencoder import Autoencoder, load_autoencoder
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.encoders.hub import load_hub_autoencoder, load_hub_text_encoder
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.expert import Expert, build_expert
from paris_p2p.model.mixture import Strategy
from paris_p2p.model.objective import Text
from paris_p2p.model.router import Router, build_router
from paris_p2p.model.sampler import EnsembleSampler, Sample, StepListener, draw_noise
from paris_p2p.model.weights import load_into
from paris_p2p.peer.pictures import Picture
from paris_p2p.peer.request import SampleRequest
from paris_p2p.records.run import ROUTER, Artefact, RunManifest, run_id, slot_name

log = logging.getLogger(__name__)


GLANCE = 10.0
"""Seconds without a byte after which the next checkpoint of a slot is tried; a peer that died with
its newest one is announced for minutes. Those that are passed over so are waited for in the end."""


class Fetch(Protocol):
    """Content id (hex) -> the verified file.

    Raises NotAvailable when nothing of it has come for `patience` seconds; None: for long enough.
    """

    def __call__(self, content: str, patience: float | None = None) -> Path: ...


HeadRow = Mapping[str, Any]
Encoder = TypeVar("Encoder", Autoencoder, TextEncoder)


class Ensemble:
    """A run's networks, fetched when first needed and remembered.

    Parameters
    ----------
    sealed_run : the run's signed manifest.
    heads : per slot (as text) its candidate heads, best first; a candidate whose weights do not
        check is passed over for the next.
    """

    def __init__(
        self, sealed_run: bytes, heads: Mapping[str, Sequence[HeadRow]], fetch: Fetch
    ) -> None:
        self._run_id = run_id(sealed_run)
        self._run = run = RunManifest.unseal(sealed_run)
        self._heads = heads
        self._fetch = fetch
        self.used: dict[int, HeadRow] = {}
        """The head that each loaded slot came from."""
        self._experts: dict[int, Expert | Router] = {}
        self.router = self._network(ROUTER)
        self.text_encoder = _encoder(
            run.text_encoder, fetch, load_text_encoder, load_hub_text_encoder
        )
        self.autoencoder = _encoder(run.autoencoder, fetch, load_autoencoder, load_hub_autoencoder)

    def sample(self, request: SampleRequest, on_step: StepListener | None = None) -> list[Picture]:
        """The pictures of a request. NotAvailable when no expert can be had."""
        sample = self.latents(request, on_step)
        images = self._decode(sample.latents)
        return [
            Picture(caption, image, self._provenance(request, caption, index, sample))
            for index, (caption, image) in enumerate(zip(request.captions(), images, strict=True))
        ]

    def latents(self, request: SampleRequest, on_step: StepListener | None = None) -> Sample:
        """The latents of a request before they are decoded, and who answered for them."""
        captions = request.captions()
        for prompt in request.prompts:
            if self.text_encoder.truncated(prompt):
                log.warning(
                    "the prompt is longer than the text encoder reads and is cut: %s", prompt
                )
        sampler = EnsembleSampler(
            router=self.router,
            load_expert=self._expert,
            null=self._text([""]),
            available=torch.tensor([bool(self._heads[str(k)]) for k in range(self._run.clusters)]),
            strategy=_strategy(request),
            guidance=request.guidance,
        )
        noise = draw_noise(len(captions), self._latent_shape, request.seed)
        return sampler.sample(self._text(captions), noise, request.steps, on_step)

    @property
    def _latent_shape(self) -> tuple[int, int, int]:
        channels, height, width = self._run.latent_shape
        return channels, height, width

    def _expert(self, expert: int) -> Expert | Router | None:
        try:
            if expert not in self._experts:
                self._experts[expert] = self._network(expert)
            return self._experts[expert]
        except NotAvailable as error:
            log.warning("%s; its share is lost", error)
            return None

    def _network(self, slot: int) -> Expert | Router:
        """The best network of a slot whose weights can be had and check."""
        late = []
        for head in self._heads[str(slot)]:
            try:
                return self._loaded(slot, head, GLANCE)
            except NotAvailable:
                late.append(head)
            except BadContent as error:
                _warn(slot, head, error)
        for head in late:
            try:
                return self._loaded(slot, head, None)
            except (BadContent, NotAvailable) as error:
                _warn(slot, head, error)
        raise NotAvailable(
            f"nobody has a usable checkpoint of {slot_name(slot)}",
            f"wait for one, or train it: paris-peer claim-expert {_option(slot)}",
        )

    def _loaded(self, slot: int, head: HeadRow, patience: float | None) -> Expert | Router:
        module = self._built(slot)
        load_into(module, self._fetch(head["manifest"], patience))
        self.used[slot] = head
        return module.eval()

    def _built(self, slot: int) -> Expert | Router:
        if slot == ROUTER:
            return build_router(self._run.router, self._latent_shape, self._run.clusters)
        return build_expert(self._run.expert, self._latent_shape)

    @torch.inference_mode()
    def _text(self, captions: Sequence[str]) -> Text:
        ids = self.text_encoder.tokenize(captions)
        return Text(self.text_encoder.encode(ids), self.text_encoder.mask(ids))

    @torch.inference_mode()
    def _decode(self, latents: Tensor) -> list[Image.Image]:
        pixels = self.autoencoder.decode(latents).clamp(-1, 1)
        levels = ((pixels + 1) * 127.5).round().to(torch.uint8)
        return [Image.fromarray(level.permute(1, 2, 0).numpy()) for level in levels]

    def _provenance(
        self, request: SampleRequest, caption: str, index: int, sample: Sample
    ) -> dict[str, Any]:
        weights = sample.weights[:, index].mean(dim=0)
        return {
            "run": {"name": self._run.name, "id": self._run_id.hex()},
            "prompt": caption,
            "seed": request.seed + index,
            "steps": request.steps,
            "guidance": request.guidance,
            "strategy": request.strategy,
            "top_k": request.top_k,
            "expert_weights": {
                str(k): round(float(w), 4) for k, w in enumerate(weights) if float(w) > 0
            },
            "lost_mass": round(float(sample.lost_mass[:, index].mean()), 4),
            "heads": {
                slot_name(slot): {name: head[name] for name in ("author", "step", "manifest")}
                for slot, head in sorted(self.used.items())
            },
        }


def _option(slot: int) -> str:
    return "--router" if slot == ROUTER else f"--expert {slot}"


def _strategy(request: SampleRequest) -> Strategy:
    if request.top_k is None:
        return Strategy.named(request.strategy)
    return Strategy.named(request.strategy, k=request.top_k)


def _encoder(
    artefact: Artefact,
    fetch: Fetch,
    load: Callable[[Path], Encoder],
    load_hub: Callable[[str], Encoder],
) -> Encoder:
    """A frozen network of the run: from the swarm, or by name from a hub's cache."""
    if artefact.kind == "hub":
        if Path(artefact.reference).exists():
            raise BadContent(
                f"the run's encoder {artefact.reference} is also the name of a file here",
                "Use another working directory: a run's encoders never come from it",
            )
        return load_hub(artefact.reference)
    return load(fetch(artefact.reference))


def _warn(slot: int, head: HeadRow, error: ParisError) -> None:
    log.warning("%s of %s: %s", slot_name(slot), head["author"][-8:], error)
