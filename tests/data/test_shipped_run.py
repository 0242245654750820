"""The shipped data of the shipped run fit together: emoji, encoders, clusters, shards."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from paris_p2p.data.emoji import EmojiSample, load_emoji, pixels_of, to_signal
from paris_p2p.data.shards import Shard, read_shard
from paris_p2p.model.encoders.autoencoder import SmallAutoencoder, load_autoencoder
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.encoders.towers import TextEncoder

SHIPPED = Path(__file__).parents[2] / "bootstrap" / "shipped_run"
MAX_BYTES = 21_000_000
"""What the data may take of the 40 MB that all shipped files may; the heads get the rest."""


@dataclass(frozen=True)
class Data:
    samples: tuple[EmojiSample, ...]
    autoencoder: SmallAutoencoder
    text: TextEncoder
    shards: list[Shard]


@pytest.fixture(scope="module")
def data() -> Data:
    autoencoder = load_autoencoder(SHIPPED / "autoencoder.safetensors")
    text = load_text_encoder(SHIPPED / "clip.safetensors")
    shards = [
        read_shard(
            SHIPPED / "shards" / f"expert-{cluster}.safetensors",
            latent_shape=autoencoder.latent_shape,
            context_length=text.context_length,
        )
        for cluster in range(8)
    ]
    return Data(load_emoji(SHIPPED / "emoji.parquet"), autoencoder, text, shards)


def places(data: Data) -> dict[tuple[int, ...], tuple[int, str]]:
    """Of every caption's tokens, the cluster and part that they lie in."""
    found: dict[tuple[int, ...], tuple[int, str]] = {}
    for cluster, shard in enumerate(data.shards):
        for part, ids in (("train", shard.text_ids[:, 0]), ("held out", shard.held_out_text_ids)):
            found |= {tuple(row): (cluster, part) for row in ids.tolist()}
    return found


def test_every_picture_is_in_the_part_its_split_says(data: Data) -> None:
    found = places(data)
    rows = sum(len(shard.latents) + len(shard.held_out_latents) for shard in data.shards)
    assert rows == len(found) == len(data.samples)
    ids = data.text.tokenize([sample.caption for sample in data.samples]).tolist()
    for sample, row in zip(data.samples, ids, strict=True):
        part = "train" if sample.split == "train" else "held out"
        assert found[tuple(row)][1] == part


def test_a_concept_is_one_experts_in_all_its_styles(data: Data) -> None:
    found = places(data)
    ids = data.text.tokenize([sample.caption for sample in data.samples]).tolist()
    cluster_of: dict[str, int] = {}
    for sample, row in zip(data.samples, ids, strict=True):
        cluster = found[tuple(row)][0]
        assert cluster_of.setdefault(sample.concept, cluster) == cluster


def test_clusters_are_of_much_the_same_size(data: Data) -> None:
    sizes = [len(shard.latents) for shard in data.shards]
    assert max(sizes) <= 2 * sum(sizes) / len(sizes)
    summary = json.loads((SHIPPED / "clusters.json").read_text())["clusters"]
    assert [cluster["train"] for cluster in summary] == sizes


def test_latents_are_normalised(data: Data) -> None:
    latents = torch.cat([shard.train_latents() for shard in data.shards])
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.02
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.02


def test_unseen_pictures_survive_encoding(data: Data) -> None:
    unseen = [sample for sample in data.samples if sample.split == "held_out_concept"][::8]
    signal = to_signal(pixels_of(unseen))
    restored = data.autoencoder.decode(data.autoencoder.encode(signal)).clamp(-1, 1)
    error = (restored - signal).square().mean(dim=(1, 2, 3))
    psnr = (10 * torch.log10(4 / error)).mean()
    assert psnr > 25


def test_captions_keep_the_whole_vocabularys_tokens_and_fit(data: Data) -> None:
    full = SimpleTokenizer()
    for sample in data.samples[::20]:
        assert not data.text.truncated(sample.caption)
        caption = sample.caption.replace("\u2019s", "")
        pieces = [full.decoder[token] for token in full.encode(caption)]
        ours = data.text.tokenizer
        assert [ours.decoder[token] for token in ours.encode(caption)] == pieces


def test_the_data_leave_room_for_the_heads() -> None:
    shipped = [*SHIPPED.glob("*.parquet"), *SHIPPED.glob("*.safetensors")]
    shipped += SHIPPED.glob("shards/*.safetensors")
    assert sum(path.stat().st_size for path in shipped) <= MAX_BYTES


def test_every_style_is_attributed(data: Data) -> None:
    attribution = (SHIPPED / "ATTRIBUTION.md").read_text()
    for style in {sample.style for sample in data.samples}:
        assert f"`{style}`" in attribution
    for licence in ("MIT-fluent-emoji", "MIT-emojibase", "Apache-2.0", "CC-BY-4.0"):
        assert (SHIPPED / "licenses" / f"{licence}.txt").stat().st_size > 1000
