"""Cut the shipped run's clusters and write its shards, `shards/expert-{k}.safetensors`.

    python -m bootstrap.shipped_run.build.shards

Clusters are cut from CLIP image features of the training pictures. Each style's mean is taken away
and a concept's pictures share the mean of what is left, so that clusters follow what is shown, and
one expert sees a concept in all its styles: without it no expert could learn to draw the teddy bear
of three styles in the fourth. `clusters.json` says what came of it.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch

from bootstrap.shipped_run.build import SHIPPED
from paris_p2p.data.clusters import cut_clusters, telling_words
from paris_p2p.data.emoji import EmojiSample, load_emoji, pixels_of
from paris_p2p.data.features import group_means, image_features
from paris_p2p.data.prepare import CaptionedImages, prepare_shards
from paris_p2p.data.shards import write_shard
from paris_p2p.model.encoders.autoencoder import load_autoencoder
from paris_p2p.model.encoders.clip import load_image_encoder, load_text_encoder

CLUSTERS = 8


def captions_of(sample: EmojiSample) -> list[str]:
    """The caption, half of the time; else with some tags of the emoji, or tags alone."""
    style = sample.caption.rpartition(", ")[2]
    tags = random.Random(sample.caption).sample(sample.tags, min(len(sample.tags), 3))
    if not tags:
        return [sample.caption]
    described = ", ".join([sample.label, *tags, style])
    return [sample.caption, sample.caption, described, ", ".join([*tags, style])]


def main() -> None:
    """Write every shard and the summary; print what each cluster holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shipped", type=Path, default=SHIPPED)
    parser.add_argument("--fine", type=int, default=256, help="fine centroids")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    samples = load_emoji(args.shipped / "emoji.parquet")
    held_out = torch.tensor([sample.split != "train" for sample in samples])
    images = CaptionedImages(pixels_of(samples), [captions_of(s) for s in samples], held_out)

    encoder = load_image_encoder(args.shipped / "clip.safetensors")
    features = image_features(encoder, images.pixels)
    features = features - group_means(features, [s.style for s in samples], ~held_out)
    features = group_means(features, [s.concept for s in samples], ~held_out)
    clusters = cut_clusters(features[~held_out], CLUSTERS, args.fine, args.seed)
    labels = clusters.assign(features)

    shards = prepare_shards(
        images,
        labels,
        CLUSTERS,
        load_autoencoder(args.shipped / "autoencoder.safetensors"),
        load_text_encoder(args.shipped / "clip.safetensors"),
    )
    words = telling_words([s.label for s in samples], labels, CLUSTERS)
    summary = []
    for number, shard in enumerate(shards):
        path = args.shipped / "shards" / f"expert-{number}.safetensors"
        write_shard(path, shard)
        summary.append(
            {
                "cluster": number,
                "train": len(shard.latents),
                "held_out": len(shard.held_out_latents),
                "bytes": path.stat().st_size,
                "words": words[number],
            }
        )
        print(json.dumps(summary[-1]))
    about = {"seed": args.seed, "fine": args.fine, "clusters": summary}
    aside = args.shipped / "clusters.json.new"
    aside.write_text(json.dumps(about, indent=2) + "\n")
    aside.replace(args.shipped / "clusters.json")


if __name__ == "__main__":
    main()
