"""What the router knows, and what it is worth: `python -m bench.routing [--router FILE]`.

The first table asks how often the likeliest cluster is the right one, for pictures of the shipped
run at several times: by the clusters' sizes alone, by the noisy picture, by the caption, by both.
Standard errors count concepts, not pictures, as a concept's pictures share their cluster.

The second table draws captions by several strategies, from the same noise. A picture is right when
the nearest real one (in latent space) is of the concept asked for. The oracle is the one expert of
the caption's true cluster. Bytes are what a newcomer fetches for one prompt: the encoders, the
router, and the experts that draw it; those of a guidance branch of its own are not counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Final

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy, one_hot

from bench.chart import chart
from bench.pictures import SPLITS, Pictures, drawn_from, load_pictures, parts_of, read_captions
from bench.strategies import Gallery
from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.expert import Expert, build_expert
from paris_p2p.model.mixture import Strategy
from paris_p2p.model.objective import Reader, Text, interpolate
from paris_p2p.model.router import Router, build_router
from paris_p2p.model.sampler import EnsembleSampler, Sample, draw_noise
from paris_p2p.model.weights import load_into
from paris_p2p.peer.shipped_run import ShippedRun, load_shipped_run

TIMES: Final = (0.99, 0.9, 0.7, 0.5, 0.25)
LOOKS: Final = 1000
"""Noised latents of a split that the first table looks at; of few pictures, each several times."""

BINS: Final = 15
"""Of the expected calibration error."""

STEPS: Final = 20
GUIDANCE: Final = 4.0

BLIND, BOTH, ORACLE = "x_t only", "both", "oracle"
DRAWN: Final = (
    (BLIND, "top-1", False),
    (BLIND, "top-2", False),
    (BLIND, "threshold", False),
    (BLIND, "full", False),
    (BOTH, "once", False),
    (BOTH, "once", True),
    (BOTH, "top-1", False),
    (BOTH, "top-1", True),
    (BOTH, "top-2", False),
    (BOTH, "top-2", True),
    (BOTH, "threshold", False),
    (BOTH, "full", False),
    (ORACLE, "top-1", False),
)
"""Who routes, the strategy, and whether each branch of guidance has its own decision."""


@dataclass(frozen=True)
class Bench:
    """The shipped run's networks, with the router that is looked at."""

    shipped: ShippedRun
    router: Router
    router_bytes: int
    experts: Sequence[Expert]
    null: Text


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--router", type=Path, help="a checkpoint; the shipped one without")
    options.add_argument("--captions", type=int, default=64, help="drawn per split; 0 draws none")
    options.add_argument("--plot", type=Path, help="write the first table as an SVG")
    chosen = options.parse_args()
    shipped = load_shipped_run()
    encoder = load_text_encoder(shipped.folder / "clip.safetensors")
    bench = _bench(shipped, chosen.router or shipped.folder / "heads/router.safetensors", encoder)
    pictures = load_pictures(shipped, encoder)
    panels = tell_knowledge(bench, pictures)
    if chosen.plot is not None:
        title = "Accuracy of the likeliest cluster, by the time t of the noisy latent"
        chosen.plot.write_text(chart(title, panels, [str(t) for t in TIMES]))
    if chosen.captions:
        tell_drawing(bench, pictures, chosen.captions)


@torch.inference_mode()
def tell_knowledge(
    bench: Bench, pictures: Mapping[str, Pictures]
) -> dict[str, dict[str, list[float]]]:
    """Print the first table; returns its accuracies by split, judge and time."""
    print("accuracy, cross-entropy and expected calibration error of the posterior over clusters;")
    print("for both: what it changes of the picture's accuracy and cross-entropy, with its error")
    shares = torch.bincount(pictures["train"].clusters).double()
    prior = (shares / shares.sum()).log().float()
    accuracies: dict[str, dict[str, list[float]]] = {}
    for split, name in SPLITS.items():
        some = _spread(pictures[split], LOOKS)
        concepts = [sample.concept for sample in some.samples]
        found = len({sample.caption for sample in some.samples})
        print(f"{name}: {found} pictures of {len(set(concepts))} concepts, {LOOKS} looks")
        lines = accuracies[name] = {}
        for t in TIMES:
            judged = dict(_judgements(bench.router, some, prior, t))
            for judge, logits in judged.items():
                right = _right(logits, some.clusters)
                lines.setdefault(judge, []).append(float(right.mean()))
                loss, error = _losses(logits, some).mean(), calibration_error(logits, some.clusters)
                told = f"  t={t:<5} {judge:>12} {right.mean():6.3f} {loss:7.3f} {error:6.3f}"
                if judge == BOTH:
                    gain = right - _right(judged[BLIND], some.clusters)
                    change = _losses(logits, some) - _losses(judged[BLIND], some)
                    told += f"   {_with_error(gain, concepts)}   {_with_error(change, concepts)}"
                print(told, flush=True)
    return accuracies


def _judgements(
    router: Router, pictures: Pictures, prior: Tensor, t: float
) -> Iterator[tuple[str, Tensor]]:
    """Each judge and its logits (N, K) at time `t`."""
    x0 = pictures.latents
    eps = torch.randn(x0.shape, generator=Generator().manual_seed(0))
    times = torch.full((len(x0),), t)
    x_t = interpolate(x0, eps, times)
    seen = torch.cat([router(x_t[part], times[part]) for part in parts_of(len(x0))])
    yield "prior only", prior.expand_as(seen)
    yield BLIND, seen
    if router.reader is not None:
        evidence = router.read(pictures.text)
        yield "caption only", prior + evidence
        yield BOTH, seen + evidence


def calibration_error(logits: Tensor, clusters: Tensor) -> float:
    """Expected calibration error: mean gap of confidence and accuracy, over bins of confidence."""
    confidence = logits.softmax(-1).max(-1).values
    gap = confidence - _right(logits, clusters)
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    return float(torch.zeros(BINS).index_add(0, bins, gap).abs().sum() / len(gap))


def clustered_error(values: Tensor, groups: Sequence[str]) -> float:
    """Standard error of the mean of `values` (N,), where those of a group are not independent."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    index = torch.tensor([numbers[group] for group in groups])
    sums = torch.zeros(len(numbers)).index_add(0, index, values - values.mean())
    return float(sums.square().sum().sqrt() / len(values))


def tell_drawing(bench: Bench, pictures: Mapping[str, Pictures], count: int) -> None:
    """Print the second table: `count` captions of every split."""
    real = list(pictures.values())
    gallery = Gallery(
        [sample for part in real for sample in part.samples],
        torch.cat([part.latents for part in real]).flatten(1),
    )
    asked = {split: drawn_from(part, count) for split, part in pictures.items()}
    print(f"right pictures of {count} captions a split, {STEPS} steps, guidance {GUIDANCE}")
    titles = "".join(f"{name:>16}" for name in SPLITS.values())
    print(f"{'who routes':>10} {'strategy':>10} {'guidance by':>12}{titles}  experts  MB/prompt")
    for who, strategy, own in DRAWN:
        if who == BOTH and bench.router.reader is None:
            continue
        rights, called = [], []
        for part in asked.values():
            sample = _draw(bench, part, who, strategy, own)
            found = gallery.concept_nearest_to(sample.latents.flatten(1))
            right = [a.concept == b for a, b in zip(part.samples, found, strict=True)]
            rights.append(fmean(right))
            called += [
                weights.any(dim=0).nonzero().flatten() for weights in sample.weights.unbind(1)
            ]
        told = "".join(f"{share:16.0%}" for share in rights)
        size = fmean(_fetched(bench, experts) for experts in called) / 1e6
        experts = fmean(len(experts) for experts in called)
        branches = "own" if own else "shared"
        print(
            f"{who:>10} {strategy:>10} {branches:>12}{told} {experts:8.2f} {size:10.1f}", flush=True
        )


def _draw(bench: Bench, asked: Pictures, who: str, strategy: str, own: bool) -> Sample:
    readers: dict[str, Reader | None] = {
        BLIND: None,
        BOTH: bench.router.read,
        ORACLE: lambda _: 1e3 * one_hot(asked.clusters, len(bench.experts)).float(),
    }
    sampler = EnsembleSampler(
        router=bench.router,
        load_expert=bench.experts.__getitem__,
        null=bench.null,
        available=torch.ones(len(bench.experts), dtype=torch.bool),
        read=readers[who],
        strategy=Strategy.named(strategy),
        guidance=GUIDANCE,
        own_routing=own,
    )
    noise = draw_noise(len(asked.samples), bench.shipped.run.latent_shape, seed=0)  # type: ignore[arg-type]
    return sampler.sample(asked.text, noise, STEPS)


def _fetched(bench: Bench, experts: Tensor) -> int:
    """Bytes that a newcomer fetches to draw with these experts."""
    folder = bench.shipped.folder
    files = [folder / "clip.safetensors", folder / "autoencoder.safetensors"]
    files += [folder / f"heads/expert-{int(expert)}.safetensors" for expert in experts]
    return bench.router_bytes + sum(file.stat().st_size for file in files)


def _bench(shipped: ShippedRun, router: Path, encoder: TextEncoder) -> Bench:
    run = shipped.run
    channels, height, width = run.latent_shape
    experts = []
    for expert in range(run.clusters):
        built = build_expert(run.expert_spec(expert), (channels, height, width))
        load_into(built, shipped.folder / f"heads/expert-{expert}.safetensors")
        experts.append(built.eval())
    loaded = _router(shipped, router)
    return Bench(shipped, loaded, router.stat().st_size, experts, read_captions(encoder, [""]))


def _router(shipped: ShippedRun, file: Path) -> Router:
    """The router in a file, whether it reads or is blind."""
    run = shipped.run
    channels, height, width = run.latent_shape
    for caption_width in (run.text_width, 0):
        spec = replace(run.router, caption_width=caption_width)
        router = build_router(spec, (channels, height, width), run.clusters)
        try:
            load_into(router, file)
        except BadContent as error:
            refusal = error
        else:
            return router.eval()
    raise refusal


def _spread(pictures: Pictures, count: int) -> Pictures:
    """`count` of the pictures, evenly: some of many, or each of few several times."""
    return pictures[torch.linspace(0, len(pictures.samples) - 1, count).long()]


def _losses(logits: Tensor, pictures: Pictures) -> Tensor:
    return cross_entropy(logits, pictures.clusters, reduction="none")


def _with_error(values: Tensor, groups: Sequence[str]) -> str:
    return f"{values.mean():+.3f} +- {clustered_error(values, groups):.3f}"


def _right(logits: Tensor, clusters: Tensor) -> Tensor:
    return (logits.argmax(-1) == clusters).float()


if __name__ == "__main__":
    main()
