"""A run of few experts whose steps take milliseconds, on as many shards of the shipped run."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from paris_p2p.home import Home
from paris_p2p.identity import Author, Identity
from paris_p2p.model.router import build_router
from paris_p2p.model.weights import save_weights
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.shipped_run import load_shipped_run
from paris_p2p.records.head import Head
from paris_p2p.records.run import ROUTER, ExpertSlot, ExpertSpec, RouterSpec, RunManifest, run_id
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore


def seed_small_run(
    home: Home,
    now: float,
    clusters: int = 2,
    publish_every: int = 100,
    trusted_authors: tuple[Author, ...] = (),
    name: str = "chaos",
    objectives: tuple[str, ...] = (),
) -> bytes:
    """Put the run and all its content into the store of `home`; returns the run's id.

    With `objectives`, one for each expert, the experts differ in size too: each is a layer deeper
    than the one before.
    """
    source = load_shipped_run()
    shipped = source.run
    creator = Identity.generate()
    expert = ExpertSpec(32, 1, 2, 2, shipped.text_width)
    run = replace(
        shipped,
        name=name,
        created=now,
        author=creator.author,
        clusters=clusters,
        shards=shipped.shards[:clusters],
        trusted_authors=trusted_authors,
        expert=expert,
        experts=tuple(
            ExpertSlot(replace(expert, depth=depth), objective)
            for depth, objective in enumerate(objectives, start=1)
        ),
        router=RouterSpec(32, 1, 2, 2),
        recipe=replace(
            shipped.recipe, batch=8, snapshot_every=10, publish_every=publish_every, warmup=0
        ),
    )
    sealed = run.seal(creator)
    home.create()
    blobs = Blobs(ChunkStore(home.store_dir), home.cache_dir)
    blobs.chunks.put(sealed)
    shards = {f"expert-{index}" for index in range(clusters)}
    for path, kind in source.content_files():
        if kind == "encoder" or (kind == "shard" and path.stem in shards):
            blobs.add_file(path, kind, path.name)
    return run_id(sealed)


def publish_router(home: Home, run_id: bytes) -> None:
    """Let the peer of `home`, which has not begun, have published an untrained router.

    So no process has to train one for pictures to be drawn.
    """
    if not home.identity_file.exists():
        Identity.generate().save(home.identity_file)
    author = Identity.load(home.identity_file)
    blobs = Blobs(ChunkStore(home.store_dir), home.cache_dir)
    run = RunManifest.unseal(blobs.chunks.get(run_id))
    router = build_router(run.router, run.latent_shape, run.clusters)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "router.safetensors"
        save_weights(file, router, {}, torch.bfloat16)
        content = blobs.add_file(file, "checkpoint", file.name)
    head = Head(
        run=run_id,
        expert=ROUTER,
        author=author.author,
        step=1,
        images=1,
        manifest=content.id,
        size=content.size,
        train_loss=1.0,
        held_out_loss=1.0,
        parent=None,
        created=run.created,
    )
    book = HeadBook(home.runs_dir / run_id.hex() / "heads", run_id, run.slots())
    book.add(head.seal(author), own=True)
