from __future__ import annotations

import math
from dataclasses import replace

import torch

from paris_p2p.model.router import build_router
from paris_p2p.model.weights import load_into
from paris_p2p.records.run import ROUTER
from paris_p2p.training.router import train_router

from .jobs import CLUSTERS, LATENT_SHAPE, NETWORK, RECIPE, RunFiles, a_shard

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
