"""Which strategy samples the concept asked for: `python -m bench.strategies [captions]`.

Captions of the shipped run are sampled with every strategy and guidance scale, from the same noise.
A picture counts as right when the nearest of all real pictures (in latent space) is of the concept
that was asked for. Half of the captions were trained on. The other half are held-out pairs: a
concept in a style it was never seen in.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from paris_p2p.data.emoji import EmojiSample, load_emoji, pixels_of
from paris_p2p.data.prepare import encode_images
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.report import head_row
from paris_p2p.peer.shipped_run import ShippedRun, load_shipped_run, seed_shipped_run
from paris_p2p.records.head import ranked_heads
from paris_p2p.sampling.contents import HeadRow
from paris_p2p.sampling.ensemble import Ensemble
from paris_p2p.sampling.request import SampleRequest
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore

SETTINGS = [
    ("top-1", 4.0),
    ("top-2", 4.0),
    ("top-2", 7.5),
    ("threshold", 4.0),
    ("threshold", 7.5),
    ("full", 2.0),
    ("full", 4.0),
    ("full", 7.5),
]
STEPS = 20


@dataclass(frozen=True)
class Gallery:
    """Every real picture: its sample, and its latents flattened, (N, D)."""

    samples: Sequence[EmojiSample]
    latents: Tensor

    def concept_nearest_to(self, latents: Tensor) -> list[str]:
        """The concept of the nearest real picture for each row of (M, D)."""
        nearest = torch.cdist(latents, self.latents).argmin(dim=1)
        return [self.samples[int(index)].concept for index in nearest]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    shipped = load_shipped_run()
    samples = load_emoji(shipped.folder / "emoji.parquet")
    with shipped_ensemble(shipped) as ensemble:
        latents = encode_images(ensemble.autoencoder, pixels_of(samples))
        gallery = Gallery(samples, latents.flatten(1))
        asked = [
            random.Random(0).sample([s for s in samples if s.split == split], count // 2)
            for split in ("train", "held_out_pair")
        ]
        print(f"{'strategy':>10} {'guidance':>8} {'trained on':>11} {'held-out pairs':>15}")
        for strategy, guidance in SETTINGS:
            rights = [_right(ensemble, gallery, part, strategy, guidance) for part in asked]
            print(f"{strategy:>10} {guidance:8.1f} {rights[0]:11.0%} {rights[1]:15.0%}", flush=True)


def _right(
    ensemble: Ensemble,
    gallery: Gallery,
    asked: Sequence[EmojiSample],
    strategy: str,
    guidance: float,
) -> float:
    """The share of `asked` whose sample is nearest to a real picture of its concept."""
    prompts = tuple(sample.caption for sample in asked)
    request = SampleRequest(prompts, strategy=strategy, guidance=guidance, steps=STEPS)
    latents = ensemble.latents(request).latents.flatten(1)
    found = gallery.concept_nearest_to(latents)
    return sum(a.concept == b for a, b in zip(asked, found, strict=True)) / len(asked)


@contextmanager
def shipped_ensemble(shipped: ShippedRun) -> Iterator[Ensemble]:
    """The shipped networks, from a temporary store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blobs = Blobs(ChunkStore(folder / "store"), folder / "cache")
        book = HeadBook(folder / "heads", shipped.id, shipped.run.slots())
        seed_shipped_run(shipped, blobs, book)
        heads = {
            str(slot): [head_row(head) for head in ranked_heads(book.of(slot))]
            for slot in shipped.run.slots()
        }
        yield Ensemble(shipped.sealed, heads, _Store(blobs))


@dataclass(frozen=True)
class _Store:
    """Contents from a store, all of which are present and good."""

    blobs: Blobs

    def fetch(self, content: str) -> Path:
        return self.blobs.path(bytes.fromhex(content))

    def fetch_head(self, slot: int, contents: Sequence[str]) -> tuple[str, Path]:
        return contents[0], self.fetch(contents[0])

    def heads(self, slot: int) -> Sequence[HeadRow]:
        return []

    def condemn(self, head: HeadRow, reason: str) -> bool:
        raise AssertionError(f"{head['manifest']} is worthless: {reason}")


if __name__ == "__main__":
    main()
