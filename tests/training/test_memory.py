"""Memory that training takes: it does not grow with the data, and claims are told the truth."""

from __future__ import annotations

import ctypes
import gc
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch

from paris_p2p.data.shards import SHARD_FORMAT
from paris_p2p.model.encoders.clip import ClipConfig, build_clip, build_tokenizer, save_clip
from paris_p2p.records.device_fit import network_memory
from paris_p2p.records.run import ExpertSpec, RunManifest
from paris_p2p.training.expert import train_expert
from paris_p2p.training.job import TextEncoderReference
from tests.records.conftest import EXAMPLES

from .jobs import MERGES, RECIPE, RunFiles

SAMPLES = 1_000_000
HELD_OUT = 4
LATENT_SHAPE = (4, 32, 32)
TEXT = ClipConfig(
    image_px=16,
    image_width=32,
    image_layers=1,
    text_width=64,
    text_layers=1,
    context_length=77,
    head_width=32,
    features=16,
)


def sparse_shard(path: Path) -> Path:
    """A shard of a million samples, 4.3 GB on paper: all zeros, so its file is mostly a hole."""
    tensors = {
        "latents": ("I8", (SAMPLES, *LATENT_SHAPE)),
        "held_out_latents": ("I8", (HELD_OUT, *LATENT_SHAPE)),
        "text_ids": ("U16", (SAMPLES, 1, TEXT.context_length)),
        "held_out_text_ids": ("U16", (HELD_OUT, TEXT.context_length)),
    }
    scale = torch.ones(LATENT_SHAPE[0]).numpy().tobytes()
    header: dict[str, object] = {
        "__metadata__": {"format": SHARD_FORMAT},
        "latent_scale": {"dtype": "F32", "shape": [LATENT_SHAPE[0]], "data_offsets": [0, 16]},
    }
    end = len(scale)
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + prod(shape) * (1 if dtype == "I8" else 2)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + scale)
        file.truncate(8 + len(text) + end)
    return path


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Adds up, in the only entry, the most bytes that this process takes more than before.

    Mapped files do not count: the system takes their pages back whenever it needs them.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier tests freed would be taken again, unseen
    before, grown, done = private_memory(), [0], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            grown[0] = max(grown[0], private_memory() - before)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield grown
    finally:
        done.set()
        looking.join()


def private_memory() -> int:
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line
    ]
    return 1024 * int(line.split()[1])


@pytest.fixture
def large(run: RunFiles, tmp_path: Path) -> RunFiles:
    tokenizer = build_tokenizer(MERGES, TEXT.context_length)
    text_encoder = tmp_path / "long-clip.safetensors"
    save_clip(text_encoder, build_clip(TEXT, tokenizer.vocab_size), TEXT, MERGES)
    shard = sparse_shard(tmp_path / "million.safetensors")
    return replace(run, shards=(shard, *run.shards[1:]), text_encoder=text_encoder)


def test_a_million_samples_take_no_more_memory_than_a_few(large: RunFiles) -> None:
    job = large.job(
        latent_shape=LATENT_SHAPE,
        text_context=TEXT.context_length,
        text_encoder=TextEncoderReference("content", str(large.text_encoder)),
        expert=ExpertSpec(hidden=32, depth=1, heads=2, patch=4, caption_width=TEXT.text_width),
        recipe=replace(RECIPE, batch=4),
        max_steps=2,
    )
    with peak_memory() as grown:
        last = list(train_expert(job))[-1]
    assert last.step == 2 and last.snapshot is not None
    assert grown[0] < 500e6


@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        (ExpertSpec(hidden=256, depth=2, heads=4, patch=2, caption_width=64), 8),
        (ExpertSpec(hidden=512, depth=4, heads=8, patch=8, caption_width=64), 2),
    ],
    ids=["mostly what a batch leaves", "mostly weights"],
)
def test_training_takes_the_memory_that_a_device_is_asked_for(
    large: RunFiles, shape: ExpertSpec, batch: int
) -> None:
    example = EXAMPLES["run"]
    assert isinstance(example, RunManifest)
    run = replace(
        example,
        latent_shape=LATENT_SHAPE,
        text_width=TEXT.text_width,
        recipe=replace(example.recipe, batch=batch),
        expert=shape,
        router=replace(example.router, patch=2),
    )
    job = large.job(
        latent_shape=LATENT_SHAPE,
        text_context=TEXT.context_length,
        text_encoder=TextEncoderReference("content", str(large.text_encoder)),
        expert=shape,
        recipe=replace(RECIPE, batch=batch),
        max_steps=2,
    )
    with peak_memory() as grown:
        steps = train_expert(job)
        next(steps)
        next(steps)
    assert network_memory(run, shape) == pytest.approx(grown[0], rel=0.2)
