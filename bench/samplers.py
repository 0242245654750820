"""Which sampler needs how many steps: `python -m bench.samplers [captions] [--oracle]`.

Captions of the shipped run are sampled from the same noise by every sampler in ever more steps.
Right: as in `bench.strategies`, the share whose nearest real picture is of the concept asked for.
Off: the root mean square distance, in latents of unit deviation, to the end of the same path,
followed in a hundred of Heun's steps. With `--oracle` the caption's own expert draws it alone, so
that no error of the router hides one of the sampler.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from bench.strategies import Gallery, shipped_ensemble
from paris_p2p.data.emoji import EmojiSample, load_emoji, pixels_of
from paris_p2p.data.prepare import encode_images
from paris_p2p.data.shards import read_shard
from paris_p2p.peer.shipped_run import ShippedRun, load_shipped_run
from paris_p2p.sampling.ensemble import Ensemble
from paris_p2p.sampling.request import SAMPLERS, SampleRequest

STEPS = (4, 8, 16, 30, 50)
GUIDANCE = 4.0
REFERENCE = ("heun", 100)
SPLITS = ("train", "held_out_pair")


def main() -> None:
    args = _arguments()
    shipped = load_shipped_run()
    samples = load_emoji(shipped.folder / "emoji.parquet")
    with shipped_ensemble(shipped) as ensemble:
        trial = _trial(ensemble, samples, args.captions // 2, args.oracle)
        if args.oracle:
            logits = _true_clusters(shipped, ensemble, [sample.caption for sample in trial.asked])
            ensemble.router = lambda _x, _t: logits  # type: ignore[assignment]
        reference = trial.latents(*REFERENCE)
        print(f"reference, {REFERENCE}: right {_shares(trial.right(reference))}")
        print("sampler  steps  calls   trained on  held-out pairs     off")
        for sampler in SAMPLERS:
            for steps in STEPS:
                latents = trial.latents(sampler, steps)
                calls = 2 * steps - 1 if sampler == "heun" else steps
                off = (latents - reference).square().mean().sqrt()
                right = _shares(trial.right(latents))
                print(f"{sampler:>7} {steps:6} {calls:6}   {right}  {off:6.3f}", flush=True)


@dataclass(frozen=True)
class Trial:
    """Captions to sample, half of them from each split, always from the same noise."""

    ensemble: Ensemble
    gallery: Gallery
    asked: Sequence[EmojiSample]
    strategy: str

    def latents(self, sampler: str, steps: int) -> Tensor:
        """(N, D)"""
        prompts = tuple(sample.caption for sample in self.asked)
        request = SampleRequest(
            prompts, strategy=self.strategy, sampler=sampler, steps=steps, guidance=GUIDANCE
        )
        return self.ensemble.latents(request).latents.flatten(1)

    def right(self, latents: Tensor) -> list[list[bool]]:
        """Whether each picture is of its concept, split by split."""
        found = self.gallery.concept_nearest_to(latents)
        right = [a.concept == b for a, b in zip(self.asked, found, strict=True)]
        half = len(right) // 2
        return [right[:half], right[half:]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("captions", nargs="?", type=int, default=64)
    parser.add_argument("--oracle", action="store_true")
    return parser.parse_args()


def _trial(ensemble: Ensemble, samples: Sequence[EmojiSample], count: int, oracle: bool) -> Trial:
    """`count` captions of each split, the same as in `bench.strategies`."""
    latents = encode_images(ensemble.autoencoder, pixels_of(samples))
    asked = [
        sample
        for split in SPLITS
        for sample in random.Random(0).sample([s for s in samples if s.split == split], count)
    ]
    strategy = "top-1" if oracle else "top-2"
    return Trial(ensemble, Gallery(samples, latents.flatten(1)), asked, strategy)


def _true_clusters(shipped: ShippedRun, ensemble: Ensemble, captions: Sequence[str]) -> Tensor:
    """Logits (N, K) that are sure of the cluster whose shard has each caption."""
    run = shipped.run
    channels, height, width = run.latent_shape
    clusters: dict[tuple[int, ...], int] = {}
    for number in range(run.clusters):
        shard = read_shard(
            shipped.folder / "shards" / f"expert-{number}.safetensors",
            latent_shape=(channels, height, width),
            context_length=run.text_context,
        )
        for ids in [*shard.text_ids[:, 0].tolist(), *shard.held_out_text_ids.tolist()]:
            clusters[tuple(ids)] = number
    asked = ensemble.text_encoder.tokenize(captions).tolist()
    logits = torch.full((len(captions), run.clusters), -100.0)
    for row, ids in enumerate(asked):
        logits[row, clusters[tuple(ids)]] = 0.0
    return logits


def _shares(right: Sequence[Sequence[bool]]) -> str:
    """The share of each split that is right, with its standard error."""
    shares = [sum(part) / len(part) for part in right]
    errors = [sqrt(p * (1 - p) / len(part)) for p, part in zip(shares, right, strict=True)]
    trained, held_out = (f"{p:4.0%} +-{e:3.0%}" for p, e in zip(shares, errors, strict=True))
    return f"{trained}       {held_out}"


if __name__ == "__main__":
    main()
