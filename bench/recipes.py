"""What a common start is worth: `python -m bench.recipes --folder DIR VARIANT...`.

A variant is `one:N` (one model on all data for N steps), `scratch:N` (every expert N steps from
fresh weights) or `base:M:N` (one model for M steps, from which every expert takes N steps of its
own). Training stays in DIR and is resumed there, and variants share what they have in common.

Two figures of each, at its total of steps. The held-out loss is the mean over the clusters of the
flow-matching loss on their held-out pictures. A picture is right when the nearest real one is of
the concept asked for; each caption is drawn by the expert of its true cluster alone, so that no
router is judged. Beside it stands how near the pictures of held-out pairs are to a picture that was
trained on, relative to the real picture's own distance: far below 1 would be memorising.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bench.pictures import Pictures, drawn_from, load_pictures, read_captions
from bench.strategies import Gallery
from bootstrap.shipped_run.build.base import everything, expert_job, trained_to
from paris_p2p.data.shards import read_shard
from paris_p2p.files import write_atomically
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.expert import Expert, build_expert
from paris_p2p.model.expert_objectives import EXPERT_OBJECTIVES
from paris_p2p.model.integrators import INTEGRATORS
from paris_p2p.model.mixture import Strategy
from paris_p2p.model.sampler import EnsembleSampler, draw_noise
from paris_p2p.model.weights import load_into
from paris_p2p.peer.shipped_run import ShippedRun, load_shipped_run
from paris_p2p.sampling.request import SampleRequest
from paris_p2p.training.expert import ExpertTask
from paris_p2p.training.job import Job
from paris_p2p.training.samples import captioned_parts

GUIDANCE = 4.0
DEFAULT = SampleRequest(("",))
"""The sampler and the steps that a prompt gets."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--folder", type=Path, required=True, help="where the training stays")
    options.add_argument("--captions", type=int, default=128, help="drawn per split")
    options.add_argument("--learning-rate", type=float, help="of the experts; the recipe's without")
    options.add_argument("variants", nargs="+", metavar="VARIANT")
    chosen = options.parse_args()
    shipped = load_shipped_run()
    trainings = Trainings(shipped, chosen.folder, chosen.learning_rate)
    judge = Judge.of(shipped, chosen.captions)
    print(
        "variant             steps  held-out loss   trained on  held-out pairs  nearest", flush=True
    )
    for variant in chosen.variants:
        steps, experts = trainings.trained(variant)
        print(f"{variant:18} {steps:6} {judge.told(experts)}", flush=True)


@dataclass(frozen=True)
class Trainings:
    """Experts trained in a folder, as a variant says."""

    shipped: ShippedRun
    folder: Path
    learning_rate: float | None

    def trained(self, variant: str) -> tuple[int, list[Expert]]:
        """The total of steps, and the experts in cluster order."""
        kind, *numbers = variant.split(":")
        match kind, [int(number) for number in numbers]:
            case "one", [steps]:
                return steps, [self._expert(self.one_model(steps))] * self.shipped.run.clusters
            case "scratch", [own]:
                return own * self.shipped.run.clusters, self._experts(variant, None, own)
            case "base", [common, own]:
                base = self.one_model(common)
                return common + own * self.shipped.run.clusters, self._experts(
                    f"base-{common}", base, own
                )
        raise SystemExit(f"no variant is called {variant!r}: one:N, scratch:N or base:M:N")

    def one_model(self, steps: int) -> Path:
        """The checkpoint at `steps` of one model on all data."""
        folder = self.folder / "one"
        kept = folder / f"kept-{steps}.safetensors"
        if not kept.exists():
            folder.mkdir(parents=True, exist_ok=True)
            job = self._job(everything(self.shipped.folder, folder), folder)
            write_atomically(kept, trained_to(steps, job).read_bytes())
        return kept

    def _experts(self, name: str, base: Path | None, own: int) -> list[Expert]:
        return [self._own(name, cluster, base, own) for cluster in range(self.shipped.run.clusters)]

    def _own(self, name: str, cluster: int, base: Path | None, own: int) -> Expert:
        rate = "" if self.learning_rate is None else f"-{self.learning_rate:g}"
        folder = self.folder / f"{name.replace(':', '-')}{rate}" / f"expert-{cluster}"
        kept = folder / f"kept-{own}.safetensors"
        if not kept.exists():
            shard = self.shipped.folder / f"shards/expert-{cluster}.safetensors"
            job = self._job(shard, folder, base, self.learning_rate)
            write_atomically(kept, trained_to(own, job).read_bytes())
        return self._expert(kept)

    def _job(
        self, shard: Path, folder: Path, base: Path | None = None, rate: float | None = None
    ) -> Job:
        job = expert_job(self.shipped.folder, shard, folder, base)
        if rate is None:
            return job
        return replace(job, recipe=replace(job.recipe, learning_rate=rate))

    def _expert(self, checkpoint: Path) -> Expert:
        channels, height, width = self.shipped.run.latent_shape
        expert = build_expert(self.shipped.run.expert, (channels, height, width))
        load_into(expert, checkpoint)
        return expert.eval()


@dataclass(frozen=True)
class Judge:
    """What experts are measured by: each cluster's loss, and captions to draw by split."""

    losses: Sequence[Callable[[Expert], float]]
    gallery: Gallery
    trained_on: Tensor
    asked: Mapping[str, Pictures]
    shipped: ShippedRun

    @classmethod
    def of(cls, shipped: ShippedRun, count: int) -> Judge:
        encoder = load_text_encoder(shipped.folder / "clip.safetensors")
        pictures = load_pictures(shipped, encoder)
        everything = list(pictures.values())
        gallery = Gallery(
            [sample for part in everything for sample in part.samples],
            torch.cat([part.latents for part in everything]).flatten(1),
        )
        return cls(
            [_held_out_loss(shipped, cluster) for cluster in range(shipped.run.clusters)],
            gallery,
            pictures["train"].latents.flatten(1),
            {split: drawn_from(pictures[split], count) for split in ("train", "held_out_pair")},
            shipped,
        )

    def told(self, experts: Sequence[Expert]) -> str:
        """A line of the table."""
        loss = fmean(measure(expert) for measure, expert in zip(self.losses, experts, strict=True))
        drawn = {split: self._drawn(asked, experts) for split, asked in self.asked.items()}
        shares = [self._right(self.asked[split], latents) for split, latents in drawn.items()]
        pairs = self.asked["held_out_pair"].latents.flatten(1)
        near = _nearest(drawn["held_out_pair"], self.trained_on) / _nearest(pairs, self.trained_on)
        return f"{loss:14.3f}" + "".join(f"{share:>14}" for share in shares) + f"{near.mean():9.2f}"

    def _drawn(self, asked: Pictures, experts: Sequence[Expert]) -> Tensor:
        """Latents (N, D), each by the expert of its true cluster."""
        velocity = EXPERT_OBJECTIVES["flow"].as_velocity
        sampler = EnsembleSampler(
            router=lambda x, _: torch.zeros(len(x), len(experts)),
            load_expert=lambda cluster: velocity(experts[cluster]),
            null=read_captions(load_text_encoder(self.shipped.folder / "clip.safetensors"), [""]),
            available=torch.ones(len(experts), dtype=torch.bool),
            read=lambda _: 1e3 * one_hot(asked.clusters, len(experts)).float(),
            strategy=Strategy.named("once"),
            guidance=GUIDANCE,
            integrator=INTEGRATORS[DEFAULT.sampler],
        )
        channels, height, width = self.shipped.run.latent_shape
        noise = draw_noise(len(asked.samples), (channels, height, width), seed=0)
        return sampler.sample(asked.text, noise, DEFAULT.steps).latents.flatten(1)

    def _right(self, asked: Pictures, latents: Tensor) -> str:
        """The share of right pictures, with its standard error."""
        found = self.gallery.concept_nearest_to(latents)
        share = fmean(a.concept == b for a, b in zip(asked.samples, found, strict=True))
        return f"{share:.0%} +- {sqrt(share * (1 - share) / len(found)):.0%}"


def _held_out_loss(shipped: ShippedRun, cluster: int) -> Callable[[Expert], float]:
    path = shipped.folder / f"shards/expert-{cluster}.safetensors"
    encoder = load_text_encoder(shipped.folder / "clip.safetensors")
    channels, height, width = shipped.run.latent_shape
    shard = read_shard(
        path, latent_shape=(channels, height, width), context_length=shipped.run.text_context
    )
    part, held_out, null = captioned_parts(shard, encoder)

    def measure(expert: Expert) -> float:
        objective = EXPERT_OBJECTIVES["flow"]
        return ExpertTask(expert, objective, part, held_out, null, 0.0).held_out_loss(expert)

    return measure


def _nearest(latents: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(latents, others).amin(dim=1)


if __name__ == "__main__":
    main()
