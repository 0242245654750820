"""From pixels and captions to shards: every sample ends in exactly one place."""

from collections.abc import Iterator

import pytest
import torch

from paris_p2p.data.features import image_features
from paris_p2p.data.prepare import CaptionedImages, encode_images, prepare_shards
from paris_p2p.model.encoders.autoencoder import AutoencoderConfig, SmallAutoencoder
from paris_p2p.model.encoders.clip import ClipConfig, build_clip, build_tokenizer
from paris_p2p.model.encoders.towers import ImageEncoder, TextEncoder

CONTEXT = 6
ROWS = 12


def letters() -> Iterator[tuple[int, str]]:
    return enumerate("abcdefghijkl")


@pytest.fixture
def images() -> CaptionedImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (ROWS, 3, 16, 16), generator=generator, dtype=torch.uint8)
    captions = [[letter, letter.upper() + "!"][: 1 + row % 2] for row, letter in letters()]
    return CaptionedImages(pixels, captions, torch.arange(ROWS) % 4 == 0)


@pytest.fixture
def autoencoder() -> SmallAutoencoder:
    config = AutoencoderConfig(
        image_px=16, width=8, encoder_blocks=(0, 1), decoder_blocks=(1, 0), latent_channels=4
    )
    return SmallAutoencoder(config).eval()


@pytest.fixture
def text() -> TextEncoder:
    config = ClipConfig(
        image_px=16,
        image_width=16,
        image_layers=1,
        text_width=16,
        text_layers=1,
        context_length=CONTEXT,
        head_width=8,
        features=8,
    )
    tokenizer = build_tokenizer([], CONTEXT)
    return TextEncoder(build_clip(config, tokenizer.vocab_size), tokenizer)


def test_every_sample_is_in_its_clusters_part(
    images: CaptionedImages, autoencoder: SmallAutoencoder, text: TextEncoder
) -> None:
    labels = torch.arange(ROWS) % 3
    shards = prepare_shards(images, labels, 3, autoencoder, text)
    first, last = (text.tokenize([c[turn] for c in images.captions]) for turn in (0, -1))
    for label, shard in enumerate(shards):
        training = (labels == label) & ~images.held_out
        other = (labels == label) & images.held_out
        assert torch.equal(shard.text_ids[:, 0].long(), first[training])
        assert torch.equal(shard.text_ids[:, 1].long(), last[training])
        assert torch.equal(shard.held_out_text_ids.long(), first[other])
    assert sum(len(shard.latents) + len(shard.held_out_latents) for shard in shards) == ROWS


def test_latents_err_by_half_a_step_at_most(
    images: CaptionedImages, autoencoder: SmallAutoencoder, text: TextEncoder
) -> None:
    (shard,) = prepare_shards(images, torch.zeros(ROWS), 1, autoencoder, text)
    exact = encode_images(autoencoder, images.pixels)
    error = (shard.train_latents() - exact[~images.held_out]).abs()
    assert (error <= 0.501 * shard.latent_scale[:, None, None]).all()
    assert shard.latents.abs().amax() <= 127


def test_batches_do_not_change_what_comes_out(
    images: CaptionedImages, autoencoder: SmallAutoencoder
) -> None:
    whole = encode_images(autoencoder, images.pixels)
    assert torch.allclose(encode_images(autoencoder, images.pixels, batch=5), whole, atol=1e-5)
    tower = torch.nn.Flatten()
    encoder = ImageEncoder(tower, 16, (0.5,) * 3, (0.5,) * 3)
    features = image_features(encoder, images.pixels, batch=5)
    assert features.shape == (ROWS, 3 * 16 * 16)
    assert torch.allclose(features, image_features(encoder, images.pixels), atol=1e-6)
