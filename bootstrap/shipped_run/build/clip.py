"""Train the shipped run's CLIP on the emoji, their captions and tags; write `clip.safetensors`.

    python -m bootstrap.shipped_run.build.clip [--steps N] [--bf16]

`--bf16` is worth it only on a processor with native bfloat16.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, get_pairs
from torch import Tensor
from torch.nn import functional as F

from bootstrap.shipped_run.build import SHIPPED
from bootstrap.shipped_run.build.fitting import augment, blend, scheduled
from paris_p2p.data.emoji import EmojiSample, load_emoji, pixels_of, to_signal
from paris_p2p.model.encoders.clip import (
    ClipConfig,
    build_clip,
    build_tokenizer,
    load_clip,
    save_clip,
)

MERGES = 4608
"""Size of the trimmed vocabulary: all that captions need, then what tags use, commonest first."""
LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 0.1
EMA_DECAY = 0.995
MAX_LOGIT_SCALE = 4.6  # ln 100, CLIP's own bound


def merges_used(tokenizer: SimpleTokenizer, texts: Iterable[str]) -> set[tuple[str, str]]:
    """Every BPE merge that tokenizing these texts takes."""
    used: set[tuple[str, str]] = set()
    words = {word for text in texts for word in tokenizer.pat.findall(text.lower())}
    for word in words:
        symbols = [tokenizer.byte_encoder[byte] for byte in word.encode()]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            pair = min(get_pairs(symbols), key=lambda p: tokenizer.bpe_ranks.get(p, 1 << 30))
            if pair not in tokenizer.bpe_ranks:
                break
            used.add(pair)
            symbols = _merged(symbols, pair)
    return used


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    for symbol in symbols:
        if result and (result[-1], symbol) == pair:
            result[-1] += symbol
        else:
            result.append(symbol)
    return result


def trimmed_merges(samples: Sequence[EmojiSample]) -> list[str]:
    """open_clip's merges cut to what this corpus needs, in their own order of rank.

    Captions keep the tokens that the whole list would give them; only a typographic apostrophe,
    which the tokenizer straightens first, costs a token more.
    """
    full = SimpleTokenizer()
    captions = merges_used(full, (sample.caption for sample in samples))
    tags = merges_used(full, (tag for sample in samples for tag in sample.tags))
    by_rank = sorted(tags - captions, key=full.bpe_ranks.__getitem__)
    kept = captions | set(by_rank[: MERGES - len(captions)])
    return [" ".join(pair) for pair in sorted(kept, key=full.bpe_ranks.__getitem__)]


@dataclass(frozen=True)
class Caption:
    """A text for one sample and whether it names the style."""

    text: str
    styled: bool


def varied_caption(sample: EmojiSample, rng: random.Random) -> Caption:
    """The caption as it stands half of the time; else without style, with tags, or tags only."""
    draw = rng.random()
    style = sample.caption.rpartition(", ")[2]
    tags = rng.sample(sample.tags, min(len(sample.tags), 3))
    if draw < 0.5:
        return Caption(sample.caption, True)
    if draw < 0.7:
        return Caption(sample.label, False)
    if draw < 0.85 or not tags:
        return Caption(", ".join([sample.label, *tags, style]), True)
    return Caption(", ".join(tags), False)


class Corpus:
    """Samples and their pixels, from which batches are drawn by a seed."""

    def __init__(self, samples: Sequence[EmojiSample], seed: int) -> None:
        self.samples = samples
        self.pixels = pixels_of(samples)
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.by_concept: dict[str, list[int]] = {}
        for row, sample in enumerate(samples):
            self.by_concept.setdefault(sample.concept, []).append(row)

    def rows(self, step: int, size: int) -> list[int]:
        """By turns any samples, or whole concepts: those teach what a style is."""
        if step % 2 == 0:
            return self.rng.sample(range(len(self.samples)), size)
        concepts = self.rng.sample(list(self.by_concept.values()), size // 4)
        return [row for rows in concepts for row in rows]

    def batch(self, step: int, size: int) -> tuple[Tensor, list[str], Tensor]:
        """Images, texts and the float (N, N) matrix of which text fits which image."""
        rows = self.rows(step, size)
        samples = [self.samples[row] for row in rows]
        captions = [varied_caption(sample, self.rng) for sample in samples]
        fits = [
            [
                image.concept == other.concept
                and (image.style == other.style or not caption.styled)
                for other, caption in zip(samples, captions, strict=True)
            ]
            for image in samples
        ]
        images = augment(self.pixels[rows], self.generator)
        return images, [caption.text for caption in captions], torch.tensor(fits).float()


def contrastive_loss(logits: Tensor, fits: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy, its targets spread over all texts (images) that fit."""
    by_image = F.cross_entropy(logits, fits / fits.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits.T, fits.T / fits.T.sum(1, keepdim=True))
    return (by_image + by_text) / 2


def train(
    corpus: Corpus, config: ClipConfig, tokenizer: SimpleTokenizer, args: argparse.Namespace
) -> open_clip.CLIP:
    """Train on the corpus; return the running average of the weights."""
    model = build_clip(config, tokenizer.vocab_size)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    started, seen = time.monotonic(), 0
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = scheduled(LEARNING_RATE, step, args.steps)
        images, texts, fits = corpus.batch(step, args.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            image_features = model.encode_image(images, normalize=True)
            text_features = model.encode_text(tokenizer(texts), normalize=True)
        logits = model.logit_scale.exp() * image_features.float() @ text_features.float().T
        loss = contrastive_loss(logits, fits)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        blend(average, model, EMA_DECAY, step)
        seen += len(images)
        if step % 25 == 0:
            speed = seen / (time.monotonic() - started)
            print(f"step {step} loss {loss.item():.3f} {speed:.0f} images/s", flush=True)
    return average.eval()


@dataclass(frozen=True)
class Retrieval:
    """How often the best caption of all of the data's is one of the image's own words.

    `exact` counts concept and style right, `concept` the concept right in whatever style.
    """

    exact: float
    concept: float


@torch.no_grad()
def retrieval(
    clip: open_clip.CLIP,
    tokenizer: SimpleTokenizer,
    images: Sequence[EmojiSample],
    choices: Sequence[EmojiSample],
) -> Retrieval:
    """For each image, the nearest of the captions of `choices`."""
    pixels, texts = pixels_of(images), tokenizer([choice.caption for choice in choices])
    text = torch.cat([clip.encode_text(part, normalize=True) for part in torch.split(texts, 256)])
    parts = [clip.encode_image(to_signal(p), normalize=True) for p in torch.split(pixels, 256)]
    best = [choices[row] for row in (torch.cat(parts) @ text.T).argmax(dim=1).tolist()]
    exact = [a.caption == b.caption for a, b in zip(images, best, strict=True)]
    concept = [a.concept == b.concept for a, b in zip(images, best, strict=True)]
    return Retrieval(sum(exact) / len(exact), sum(concept) / len(concept))


def main() -> None:
    """Train, write the artefact, then report what was read back from it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=SHIPPED / "emoji.parquet")
    parser.add_argument("--out", type=Path, default=SHIPPED / "clip.safetensors")
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--batch", type=int, default=384)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    samples = load_emoji(args.data)
    config, merges = ClipConfig(), trimmed_merges(samples)
    tokenizer = build_tokenizer(merges, config.context_length)
    corpus = Corpus([sample for sample in samples if sample.split == "train"], args.seed)
    save_clip(args.out, train(corpus, config, tokenizer, args), config, merges)
    clip, tokenizer = load_clip(args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, {tokenizer.vocab_size} tokens")
    for split in ("train", "held_out_pair", "held_out_concept"):
        images = [sample for sample in samples if sample.split == split]
        images = images[:: max(1, len(images) // 1000)]
        found = retrieval(clip, tokenizer, images, samples)
        print(f"{split}: of {len(samples)} captions the right one is first for", end=" ")
        print(f"{found.exact:.1%} of {len(images)} images, its concept for {found.concept:.1%}")


if __name__ == "__main__":
    main()
