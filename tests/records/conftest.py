"""One valid record of every kind, and the identity that signs them."""

from __future__ import annotations

import pytest
from hypothesis import settings

from paris_p2p.identity import Identity
from paris_p2p.records.claim import Claim
from paris_p2p.records.fields import Signed
from paris_p2p.records.head import Head
from paris_p2p.records.presence import Presence
from paris_p2p.records.resume import Resume
from paris_p2p.records.run import (
    Artefact,
    ExpertSpec,
    RouterSpec,
    RunManifest,
    ShardRef,
    TrainingSpec,
)

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

SIGNER = Identity(bytes(range(32)))
RUN = b"r" * 32

EXAMPLES: dict[str, Signed] = {
    "run": RunManifest(
        name="emoji-64",
        created=1.7e9,
        author=SIGNER.author,
        clusters=2,
        expert=ExpertSpec(hidden=192, depth=6, heads=6, patch=1, caption_width=128),
        router=RouterSpec(hidden=128, depth=4, heads=4, patch=2),
        recipe=TrainingSpec(
            learning_rate=5e-4,
            batch=64,
            ema=0.999,
            caption_dropout=0.1,
            snapshot_every=100,
            publish_every=500,
            warmup=100,
            grad_clip=1.0,
        ),
        latent_shape=(16, 8, 8),
        autoencoder=Artefact("content", "ab" * 32),
        text_encoder=Artefact("hub", "openai/clip-vit-large-patch14"),
        image_encoder=Artefact("hub", "facebook/dinov2-large"),
        text_context=24,
        text_width=128,
        shards=(ShardRef(b"0" * 32, 500, 20, ("fruit",)), ShardRef(b"1" * 32, 700, 30, ())),
        trusted_authors=(SIGNER.author,),
    ),
    "claim": Claim(
        run=RUN,
        expert=3,
        author=SIGNER.author,
        term=2,
        since=1000.0,
        start_step=100,
        step=120,
        progressed=1050.0,
        expires=1100.0,
    ),
    "head": Head(
        run=RUN,
        expert=3,
        author=SIGNER.author,
        step=120,
        images=7680,
        manifest=b"m" * 32,
        size=5_600_000,
        train_loss=0.4,
        held_out_loss=0.5,
        parent=None,
        created=1050.0,
    ),
    "resume": Resume(
        run=RUN,
        expert=3,
        author=SIGNER.author,
        step=120,
        images=7680,
        manifest=b"m" * 32,
        size=22_400_000,
        created=1050.0,
    ),
    "presence": Presence(
        run=RUN,
        author=SIGNER.author,
        addresses=("/ip4/203.0.113.7/tcp/31337",),
        agent="paris-p2p/0.1.0",
        role="peer",
        time=1000.0,
    ),
}


@pytest.fixture
def signer() -> Identity:
    return SIGNER


@pytest.fixture(params=EXAMPLES.values(), ids=EXAMPLES.keys())
def record(request: pytest.FixtureRequest) -> Signed:
    """Each kind of record in turn."""
    return request.param


@pytest.fixture
def run() -> RunManifest:
    return EXAMPLES["run"]


@pytest.fixture
def claim() -> Claim:
    return EXAMPLES["claim"]


@pytest.fixture
def head() -> Head:
    return EXAMPLES["head"]
