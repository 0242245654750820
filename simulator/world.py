"""The state that all simulated peers share: run, network, newest heads, ledger."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from paris_p2p.identity import Identity
from paris_p2p.records.claim import Evidence
from paris_p2p.records.head import Head
from paris_p2p.records.run import (
    Artefact,
    ExpertSpec,
    RouterSpec,
    RunManifest,
    ShardRef,
    TrainingSpec,
)
from simulator.ledger import Ledger
from simulator.network import Network

RUN_ID = bytes(32)
CREATOR = Identity(bytes(32))
PUBLISH_EVERY = 100
"""Steps between two heads."""


@dataclass
class World:
    """One simulated swarm."""

    run: RunManifest
    network: Network
    ledger: Ledger
    rng: random.Random
    heads: dict[int, Head] = field(default_factory=dict)
    """The newest head of each expert. How heads travel is not simulated."""
    published: dict[int, dict[bytes, int]] = field(default_factory=dict)
    """The furthest step that each author has published for each expert."""

    def publish(self, slot: int, author: bytes, step: int) -> None:
        """Publish a head at `step`, which becomes the newest of `slot` if it is further."""
        if step > 0:
            by_author = self.published.setdefault(slot, {})
            by_author[author] = max(step, by_author.get(author, 0))
        if step > self.step(slot):
            self.heads[slot] = Head(
                run=RUN_ID,
                expert=slot,
                author=author,
                step=step,
                images=step,
                manifest=bytes(32),
                size=1,
                train_loss=1.0,
                held_out_loss=1.0,
                parent=None,
                created=self.network.clock(),
            )

    def evidence(self, slot: int) -> Evidence:
        """The evidence of the published heads of `slot`."""
        return Evidence(self.published.get(slot, {}), PUBLISH_EVERY)

    def step(self, slot: int) -> int:
        """The step that training of `slot` continues from."""
        head = self.heads.get(slot)
        return head.step if head else 0


def make_run(clusters: int, rng: random.Random) -> RunManifest:
    """A run with `clusters` clusters, whose shards differ tenfold in size."""
    hub = Artefact("hub", "example/encoder")
    sizes = [round(1000 * 10 ** rng.random()) for _ in range(clusters)]
    return RunManifest(
        name="simulated",
        created=1.0,
        author=CREATOR.author,
        clusters=clusters,
        expert=ExpertSpec(hidden=384, depth=12, heads=6, patch=2, caption_width=768),
        router=RouterSpec(hidden=128, depth=4, heads=4, patch=2),
        recipe=TrainingSpec(
            learning_rate=1e-3,
            batch=64,
            ema=0.9,
            caption_dropout=0.1,
            snapshot_every=PUBLISH_EVERY,
            publish_every=PUBLISH_EVERY,
            warmup=0,
            grad_clip=1.0,
        ),
        latent_shape=(4, 32, 32),
        autoencoder=hub,
        text_encoder=hub,
        image_encoder=hub,
        text_context=77,
        text_width=768,
        shards=tuple(ShardRef(bytes(32), size, 10, ()) for size in sizes),
        trusted_authors=(),
    )
