"""The run that ships: complete, consistent, and small."""

from __future__ import annotations

from pathlib import Path

import pytest

from paris_p2p.model.expert import build_expert
from paris_p2p.model.router import build_router
from paris_p2p.model.weights import load_into
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.shipped_run import load_shipped_run, seed_shipped_run
from paris_p2p.records.head import best_head
from paris_p2p.records.run import ROUTER
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore

SMALL = 40 << 20


@pytest.mark.slow
def test_the_shipped_run_can_be_served_whole(tmp_path: Path) -> None:
    shipped = load_shipped_run()
    blobs = Blobs(ChunkStore(tmp_path / "store"), tmp_path / "cache")
    book = HeadBook(tmp_path / "heads", shipped.id, shipped.run.slots())

    seed_shipped_run(shipped, blobs, book)

    assert all(blobs.complete(content) for content in shipped.run.content_ids())
    channels, height, width = shipped.run.latent_shape
    for slot in shipped.run.slots():
        head = best_head(book.of(slot), shipped.run.publishers)
        assert head is not None
        latents = (channels, height, width)
        network = (
            build_router(shipped.run.router, latents, shipped.run.clusters)
            if slot == ROUTER
            else build_expert(shipped.run.expert, latents)
        )
        load_into(network, blobs.path(head.manifest))
        assert head.size <= shipped.run.checkpoint_limit(slot)
        assert head.step > 0


def test_a_shipped_head_that_was_refuted_is_left_out_of_the_store(tmp_path: Path) -> None:
    shipped = load_shipped_run()
    blobs = Blobs(ChunkStore(tmp_path / "store"), tmp_path / "cache")
    slots = shipped.run.slots()
    book = HeadBook(tmp_path / "heads", shipped.id, slots, lambda head: head.expert != ROUTER)

    seed_shipped_run(shipped, blobs, book)

    assert {head.expert for head in book.all()} == set(slots) - {ROUTER}


def test_all_data_in_the_tree_is_small() -> None:
    files = [path for path in load_shipped_run().folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= SMALL
