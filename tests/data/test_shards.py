"""Shards: what is written is read back, and nothing that a trainer could trip over is read."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from paris_p2p.data.shards import (
    ONE_CAPTION_FORMAT,
    SHARD_FORMAT,
    Shard,
    dequantise,
    narrowed,
    quantise,
    read_shard,
    write_shard,
)
from paris_p2p.errors import BadContent

SHAPE = (2, 4, 4)
CONTEXT = 6
ALTERNATIVES = 2


def shard(rows: int = 5, held_out: int = 2) -> Shard:
    generator = torch.Generator().manual_seed(0)

    def latents(count: int) -> torch.Tensor:
        return torch.randint(-127, 128, (count, *SHAPE), generator=generator).to(torch.int8)

    def ids(*shape: int) -> torch.Tensor:
        return torch.randint(0, 9, (*shape, CONTEXT), generator=generator, dtype=torch.int32)

    scale = torch.tensor([0.01, 0.02])
    return Shard(latents(rows), scale, ids(rows, ALTERNATIVES), latents(held_out), ids(held_out))


def read(source: Path | bytes) -> Shard:
    return read_shard(source, latent_shape=SHAPE, context_length=CONTEXT)


@pytest.mark.parametrize("held_out", [0, 2])
def test_a_shard_comes_back_as_it_was(tmp_path: Path, held_out: int) -> None:
    path = tmp_path / "shards" / "one.safetensors"
    written = shard(held_out=held_out)
    write_shard(path, written)
    for source in (path, path.read_bytes()):
        got = read(source)
        for name in vars(written):
            assert torch.equal(getattr(got, name), getattr(written, name))
    assert [entry.name for entry in path.parent.iterdir()] == ["one.safetensors"]


def test_quantising_errs_by_half_a_step_at_most() -> None:
    latents = torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    scale = latents.abs().amax(dim=(0, 2, 3)) / 127
    error = (dequantise(quantise(latents, scale), scale) - latents).abs()
    assert (error <= scale[:, None, None] * 0.501).all()


def test_train_latents_are_floats_in_the_channels_scale() -> None:
    one = shard()
    assert one.train_latents().dtype == torch.float32
    assert torch.allclose(one.train_latents()[0, 1], one.latents[0, 1] * 0.02)
    assert one.held_out().shape == (2, *SHAPE)


BAD = {
    "no sample": lambda s: replace(s, latents=s.latents[:0], text_ids=s.text_ids[:0]),
    "fewer captions": lambda s: replace(s, text_ids=s.text_ids[1:]),
    "fewer held-out captions": lambda s: replace(s, held_out_text_ids=s.held_out_text_ids[1:]),
    "another latent shape": lambda s: replace(s, latents=s.latents[:, :, :2]),
    "a flat tensor": lambda s: replace(s, latents=s.latents.flatten()),
    "float latents": lambda s: replace(s, latents=s.latents.float()),
    "another context": lambda s: replace(s, text_ids=s.text_ids[..., :4]),
    "no captions": lambda s: replace(s, text_ids=s.text_ids[:, :0]),
    "too many captions": lambda s: replace(s, text_ids=s.text_ids.repeat(1, 33, 1)),
    "captions without alternatives": lambda s: replace(s, text_ids=s.text_ids[:, 0]),
    "held-out captions with alternatives": lambda s: replace(
        s, held_out_text_ids=s.held_out_text_ids[:, None]
    ),
    "long ids": lambda s: replace(s, text_ids=s.text_ids.long()),
    "negative ids": lambda s: replace(s, text_ids=s.text_ids - 9),
    "a scale of NaN": lambda s: replace(s, latent_scale=torch.tensor([0.1, float("nan")])),
    "an infinite scale": lambda s: replace(s, latent_scale=torch.tensor([0.1, float("inf")])),
    "a scale of zero": lambda s: replace(s, latent_scale=torch.tensor([0.1, 0.0])),
    "a scale too long": lambda s: replace(s, latent_scale=torch.ones(3)),
    "a double scale": lambda s: replace(s, latent_scale=torch.ones(2).double()),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_shard_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.safetensors"
    write_shard(path, BAD[name](shard()))
    with pytest.raises(BadContent):
        read(path)


def test_a_shard_of_the_format_with_one_caption_an_image_is_read() -> None:
    one = shard()
    tensors = {name: tensor.contiguous() for name, tensor in vars(one).items()}
    tensors["text_ids"] = one.text_ids[:, 0].contiguous()
    got = read(save(tensors, {"format": ONE_CAPTION_FORMAT}))
    assert torch.equal(got.text_ids, one.text_ids[:, :1])
    tensors["text_ids"] = one.text_ids
    with pytest.raises(BadContent, match="captions"):
        read(save(tensors, {"format": ONE_CAPTION_FORMAT}))


@pytest.mark.parametrize(("largest", "dtype"), [(65535, torch.uint16), (65536, torch.int32)])
def test_ids_take_two_bytes_where_they_fit(
    tmp_path: Path, largest: int, dtype: torch.dtype
) -> None:
    one = shard()
    ids = one.text_ids.clone()
    ids[0, 0, 0] = largest
    path = tmp_path / "one.safetensors"
    write_shard(path, replace(one, text_ids=narrowed(ids)))
    got = read(path).text_ids
    assert got.dtype == dtype
    assert torch.equal(got.long(), ids.long())


def test_names_and_format_must_be_the_shards(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    write_shard(path, shard())
    tensors = load_file(path)
    with pytest.raises(BadContent, match="format"):
        read(save(tensors))
    meta = {"format": SHARD_FORMAT}
    with pytest.raises(BadContent, match="exactly"):
        read(save({**tensors, "more": torch.ones(1)}, meta))
    del tensors["text_ids"]
    save_file(tensors, path, meta)
    with pytest.raises(BadContent, match="exactly"):
        read(path)


@pytest.mark.parametrize("cut", [0, 4, 40, 500, -1])
def test_a_cut_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "one.safetensors"
    write_shard(path, shard())
    with pytest.raises(BadContent):
        read(path.read_bytes()[:cut])


@pytest.mark.parametrize("header", [b"junk", b"{}", b"null", b"[[[", b'{"a": 1}'])
def test_junk_is_refused(header: bytes) -> None:
    with pytest.raises(BadContent):
        read(len(header).to_bytes(8, "little") + header + b"body")
