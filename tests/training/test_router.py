from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paris_p2p.data.shards import write_shard
from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.objective import Text
from paris_p2p.model.router import build_router
from paris_p2p.model.weights import load_into
from paris_p2p.records.run import ROUTER
from paris_p2p.training.pooled_captions import EXCHANGES, pool_captions
from paris_p2p.training.router import RouterTask, train_router
from paris_p2p.training.samples import labelled_parts

from .jobs import (
    CLUSTERS,
    LATENT_SHAPE,
    NETWORK,
    RECIPE,
    TEXT_WIDTH,
    RunFiles,
    a_shard,
    same_content,
)

QUICK = replace(RECIPE, learning_rate=1e-2, batch=32, snapshot_every=1000, publish_every=1000)


def test_the_published_router_names_the_cluster(run: RunFiles) -> None:
    steps = list(train_router(run.job(ROUTER, recipe=QUICK, max_steps=60)))
    last = steps[-1]
    assert last.checkpoint is not None
    assert last.held_out_loss is not None
    assert last.held_out_loss < 0.8 * math.log(CLUSTERS)
    router = build_router(NETWORK, LATENT_SHAPE, CLUSTERS)
    load_into(router, last.checkpoint)
    for cluster in range(CLUSTERS):
        logits = router(a_shard(cluster).held_out(), torch.zeros(5))
        assert logits.argmax(dim=-1).tolist() == [cluster] * 5


def test_it_resumes_from_its_snapshot(run: RunFiles) -> None:
    job = run.job(ROUTER, max_steps=4)
    first = list(train_router(job))[-1]
    resumed = list(train_router(replace(job, resume_snapshot=first.snapshot, max_steps=2)))
    assert [p.step for p in resumed] == [5, 6]


READING = replace(NETWORK, caption_width=TEXT_WIDTH)


@pytest.fixture
def captioned(run: RunFiles, tmp_path: Path) -> RunFiles:
    """The run with a caption of its own for each cluster, and pictures that tell nothing."""
    paths = []
    for cluster in range(CLUSTERS):
        shard = a_shard(1)
        for ids in (shard.text_ids, shard.held_out_text_ids):
            ids[..., 1] = 7 + cluster
        paths.append(tmp_path / f"captioned{cluster}.safetensors")
        write_shard(paths[-1], shard)
    return replace(run, folder=tmp_path, shards=tuple(paths))


def test_a_reading_router_names_the_cluster_by_the_caption_alone(captioned: RunFiles) -> None:
    quick = replace(QUICK, learning_rate=3e-3)
    last = list(train_router(captioned.job(ROUTER, router=READING, recipe=quick, max_steps=150)))[
        -1
    ]
    assert last.checkpoint is not None
    assert last.held_out_loss is not None
    assert last.held_out_loss < 0.8 * math.log(CLUSTERS)
    router = build_router(READING, LATENT_SHAPE, CLUSTERS)
    load_into(router, last.checkpoint)
    encoder = load_text_encoder(captioned.text_encoder)
    ids = torch.tensor([[513, 7 + cluster, 514, 0, 0, 0, 0, 0] for cluster in range(CLUSTERS)])
    evidence = router.read(Text(encoder.encode(ids), encoder.mask(ids)))
    assert evidence.argmax(dim=-1).tolist() == [0, 1, 2]
    assert router.reader is not None
    strange = pool_captions(ids[:, None], encoder, EXCHANGES).strange
    assert router.reader(strange).abs().mean() < 0.7 * evidence.abs().mean()


def test_the_reader_teaches_the_picture_head_nothing(captioned: RunFiles) -> None:
    encoder = load_text_encoder(captioned.text_encoder)
    shards = [a_shard(cluster) for cluster in range(CLUSTERS)]
    gradients = []
    for spec, reader in ((NETWORK, None), (READING, encoder)):
        torch.manual_seed(0)
        router = build_router(spec, LATENT_SHAPE, CLUSTERS)
        torch.manual_seed(0)
        router.load_state_dict(build_router(NETWORK, LATENT_SHAPE, CLUSTERS).state_dict(), False)
        task = RouterTask(router, *labelled_parts(shards, reader))
        task.loss(router, torch.arange(0, 60, 2), torch.Generator().manual_seed(3)).backward()
        gradients.append({name: p.grad for name, p in router.named_parameters()})
    blind, reading = gradients
    assert all(torch.equal(gradient, reading[name]) for name, gradient in blind.items())
    assert all(gradient is not None for gradient in reading.values())


def test_a_reading_router_that_was_killed_resumes_bit_for_bit(
    captioned: RunFiles, tmp_path: Path
) -> None:
    job = captioned.job(ROUTER, router=READING, max_steps=6, out_dir=tmp_path / "unbroken")
    unbroken = list(train_router(job))[-1]
    broken = replace(job, out_dir=tmp_path, max_steps=4)
    half = list(train_router(broken))[-1]
    rest = list(train_router(replace(broken, resume_snapshot=half.snapshot, max_steps=2)))[-1]
    assert rest.step == unbroken.step
    assert same_content(rest.snapshot, unbroken.snapshot)
    assert same_content(rest.checkpoint, unbroken.checkpoint)


def test_a_router_of_another_text_width_than_the_encoder_is_refused(run: RunFiles) -> None:
    job = run.job(ROUTER, router=replace(NETWORK, caption_width=2 * TEXT_WIDTH))
    with pytest.raises(BadContent, match="width 32, and the run's text encoder gives 16"):
        list(train_router(job))
