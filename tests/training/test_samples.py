from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paris_p2p.data.shards import read_shard
from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.model.objective import Corruption
from paris_p2p.training.captions import EncodedCaptions
from paris_p2p.training.samples import (
    MAX_PROBES,
    PROBE_TIMES,
    Latents,
    captioned_parts,
    draw_probes,
    labelled_parts,
    probed,
)

from .jobs import CLUSTERS, LATENT_SHAPE, TEXT_CONTEXT, RunFiles, a_shard


def some_latents(count: int) -> torch.Tensor:
    return torch.zeros(count, *LATENT_SHAPE)


def test_latents_are_what_the_shard_says() -> None:
    shard = a_shard(2)
    rows = torch.tensor([3, 0, 3])
    latents = Latents.of_shard(shard.latents, shard.latent_scale)
    assert torch.equal(latents[rows], shard.train_latents()[rows])


def test_the_latents_of_several_shards_keep_their_own_scales() -> None:
    shards = [a_shard(cluster) for cluster in range(CLUSTERS)]
    shards[1] = replace(shards[1], latent_scale=torch.tensor([0.5, 0.25]))
    latents = Latents.joined([Latents.of_shard(s.latents, s.latent_scale) for s in shards])
    everything = torch.cat([shard.train_latents() for shard in shards])
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert len(latents) == 60
    assert torch.equal(latents[rows], everything[rows])


def test_each_distinct_caption_is_encoded_once(run: RunFiles) -> None:
    shard = read_shard(run.shards[0], latent_shape=LATENT_SHAPE, context_length=TEXT_CONTEXT)
    encoder = load_text_encoder(run.text_encoder)
    part, held_out, null = captioned_parts(shard, encoder)
    assert isinstance(part.captions, EncodedCaptions)
    assert len(part.captions.text) == len(held_out.captions.text) == 2
    assert len(null) == 1
    rows = torch.tensor([0, 1, 2])
    text = part.captions[rows]
    direct = encoder.encode(shard.text_ids[rows, 0].long())
    assert torch.allclose(text.tokens, direct, atol=1e-6)
    assert text.mask.sum(dim=1).tolist() == [3, 3, 3]


def test_the_router_sees_every_cluster_in_order() -> None:
    part, held_out = labelled_parts([a_shard(cluster) for cluster in range(CLUSTERS)])
    assert part.clusters.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert held_out.clusters.bincount().tolist() == [5, 5, 5]
    rows = torch.tensor([1, 45])
    assert torch.equal(part.latents[rows][1], a_shard(2).train_latents()[5])


def test_probes_are_always_the_same_and_cover_every_time() -> None:
    one, two = draw_probes(some_latents(10)), draw_probes(some_latents(10))
    assert torch.equal(one.corruption.eps, two.corruption.eps)
    assert one.rows.bincount().tolist() == [len(PROBE_TIMES)] * 10
    assert one.corruption.t.unique().tolist() == list(PROBE_TIMES)


def test_many_held_out_samples_are_thinned_evenly() -> None:
    rows = probed(10 * MAX_PROBES)
    assert len(rows) == MAX_PROBES
    assert rows.diff().max() <= 12


def test_a_probe_mean_weighs_every_probe_alike() -> None:
    probes = draw_probes(some_latents(70))

    def loss(rows: torch.Tensor, corruption: Corruption) -> torch.Tensor:
        assert len(rows) == len(corruption.t) == len(corruption.eps)
        return rows.double().mean()

    assert probes.mean(loss) == pytest.approx(34.5)


def test_a_shard_without_held_out_samples_cannot_be_measured() -> None:
    with pytest.raises(BadContent, match="held-out"):
        probed(0)
