"""The run that ships: complete, consistent, and small."""

from __future__ import annotations

from pathlib import Path

from paris_p2p.model.expert import build_expert
from paris_p2p.model.router import build_router
from paris_p2p.model.weights import load_into
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.shipped_run import load_genesis, seed_genesis
from paris_p2p.records.head import best_heads
from paris_p2p.records.run import ROUTER
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore

SMALL = 40 << 20


def test_the_shipped_run_can_be_served_whole(tmp_path: Path) -> None:
    genesis = load_genesis()
    blobs = Blobs(ChunkStore(tmp_path / "store"), tmp_path / "cache")
    book = HeadBook(tmp_path / "heads", genesis.id, genesis.run.slots())

    seed_genesis(genesis, blobs, book)

    assert all(blobs.complete(content) for content in genesis.run.content_ids())
    best = best_heads(book.all(), genesis.run.trusted_authors)
    assert set(best) == set(genesis.run.slots())
    channels, height, width = genesis.run.latent_shape
    for slot, head in best.items():
        latents = (channels, height, width)
        network = (
            build_router(genesis.run.router, latents, genesis.run.clusters)
            if slot == ROUTER
            else build_expert(genesis.run.expert, latents)
        )
        load_into(network, blobs.path(head.manifest))
        assert head.size <= genesis.run.checkpoint_limit(slot)
        assert head.step > 0


def test_a_shipped_head_that_was_refuted_is_left_out_of_the_store(tmp_path: Path) -> None:
    genesis = load_genesis()
    blobs = Blobs(ChunkStore(tmp_path / "store"), tmp_path / "cache")
    slots = genesis.run.slots()
    book = HeadBook(tmp_path / "heads", genesis.id, slots, lambda head: head.expert != ROUTER)

    seed_genesis(genesis, blobs, book)

    assert {head.expert for head in book.all()} == set(slots) - {ROUTER}


def test_all_data_in_the_tree_is_small() -> None:
    files = [path for path in load_genesis().folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= SMALL
