"""Sign the shipped run: the shipped artefacts, cut and named, become one run manifest.

    python -m bootstrap.shipped_run.build.run

Writes `run.paris` beside the artefacts. The key that signs it is made for this one signature and
thrown away: a run's creator has no power over it.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bootstrap.shipped_run.build import SHIPPED
from paris_p2p.files import write_atomically
from paris_p2p.identity import Identity
from paris_p2p.model.encoders.autoencoder import load_autoencoder
from paris_p2p.model.encoders.clip import load_text_encoder
from paris_p2p.peer.shipped_run import BASE_FILE, RUN_FILE
from paris_p2p.records.run import Artefact, RunManifest, ShardRef, run_id
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore
from paris_p2p.training.recipes import recipe

NAME = "emoji-64"
RECIPE = "tiny"


def main() -> None:
    identity = Identity.generate()
    with tempfile.TemporaryDirectory() as scratch:
        blobs = Blobs(ChunkStore(Path(scratch) / "store"), Path(scratch) / "cache")
        manifest = shipped_run_manifest(SHIPPED, blobs, identity.author, time.time())
    sealed = manifest.seal(identity)
    write_atomically(SHIPPED / RUN_FILE, sealed, mode=0o644)
    print(f"run {NAME}: {run_id(sealed).hex()}, {len(sealed)} bytes")


def shipped_run_manifest(folder: Path, blobs: Blobs, author: bytes, now: float) -> RunManifest:
    """The manifest of the run whose artefacts lie in `folder`."""
    text = load_text_encoder(folder / "clip.safetensors")
    autoencoder = load_autoencoder(folder / "autoencoder.safetensors")
    parts = recipe(RECIPE)
    clusters = json.loads((folder / "clusters.json").read_text())["clusters"]
    encoder = Artefact("content", _add(folder / "clip.safetensors", "encoder", blobs).hex())
    return RunManifest(
        name=NAME,
        created=now,
        author=author,
        clusters=len(clusters),
        expert=parts.expert,
        router=replace(parts.router, caption_width=text.width),
        recipe=parts.training,
        latent_shape=autoencoder.latent_shape,
        autoencoder=Artefact(
            "content", _add(folder / "autoencoder.safetensors", "encoder", blobs).hex()
        ),
        text_encoder=encoder,
        image_encoder=encoder,
        text_context=text.context_length,
        text_width=text.width,
        shards=tuple(
            ShardRef(
                _add(folder / "shards" / f"expert-{index}.safetensors", "shard", blobs),
                cluster["train"],
                cluster["held_out"],
                tuple(cluster["words"]),
            )
            for index, cluster in enumerate(clusters)
        ),
        trusted_authors=(),
        experts=parts.experts(len(clusters)),
        base=_base(folder, blobs),
    )


def _base(folder: Path, blobs: Blobs) -> bytes | None:
    """The common start of the experts, if the run has one."""
    path = folder / BASE_FILE
    return _add(path, "checkpoint", blobs) if path.exists() else None


def _add(path: Path, kind: str, blobs: Blobs) -> bytes:
    return blobs.add_file(path, kind, path.name).id


if __name__ == "__main__":
    main()
