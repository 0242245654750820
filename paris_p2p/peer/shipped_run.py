"""The run that ships with the package: the place of its files, and their way into a store."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import paris_p2p
from paris_p2p.errors import BadContent, NotAvailable
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.records.head import Head
from paris_p2p.records.run import RunManifest, run_id, slot_name
from paris_p2p.store.blobs import Blobs

log = logging.getLogger(__name__)

RUN_FILE = "run.paris"
BASE_FILE = "base.safetensors"


@dataclass(frozen=True)
class ShippedRun:
    """The shipped run: its id, its manifest, and the folder of its content."""

    folder: Path
    id: bytes
    run: RunManifest

    @property
    def sealed(self) -> bytes:
        return (self.folder / RUN_FILE).read_bytes()

    def content_files(self) -> list[tuple[Path, str]]:
        """Every shipped content file with its manifest kind, encoders first."""
        frozen = sorted(self.folder.glob("*.safetensors"))
        encoders = [(path, "encoder") for path in frozen if path.name != BASE_FILE]
        base = [(path, "checkpoint") for path in frozen if path.name == BASE_FILE]
        shards = [(path, "shard") for path in sorted(self.folder.glob("shards/*.safetensors"))]
        heads = [(path, "checkpoint") for path in sorted(self.folder.glob("heads/*.safetensors"))]
        return encoders + shards + base + heads

    def heads(self) -> list[bytes]:
        """The sealed heads of the shipped checkpoints."""
        return [path.read_bytes() for path in sorted(self.folder.glob("heads/*.head"))]


def shipped_run_folder() -> Path:
    """The folder of the shipped run: inside the package, or in `bootstrap/` in a checkout."""
    package = Path(paris_p2p.__file__).parent
    for folder in (package / "shipped_run", package.parent / "bootstrap" / "shipped_run"):
        if (folder / RUN_FILE).is_file():
            return folder
    raise NotAvailable(
        "this installation carries no shipped run",
        "name a run of the swarm with --run, or install paris-p2p with its data files",
    )


def load_shipped_run() -> ShippedRun:
    folder = shipped_run_folder()
    sealed = (folder / RUN_FILE).read_bytes()
    return ShippedRun(folder, run_id(sealed), RunManifest.unseal(sealed))


def seed_shipped_run(shipped: ShippedRun, blobs: Blobs, heads: HeadBook) -> None:
    """Take the shipped run into the store, so that this peer can serve all of it.

    A shipped head whose content was refuted here is skipped. Raises BadContent if a shipped file is
    missing or is not the one that the run manifest names.
    """
    blobs.chunks.put(shipped.sealed)
    stored = {blobs.add_file(path, kind, path.name).id for path, kind in shipped.content_files()}
    absent = shipped.run.content_ids() - stored
    if absent:
        raise BadContent(
            f"{len(absent)} files of the shipped run are missing or altered in {shipped.folder}",
            "reinstall paris-p2p",
        )
    for sealed in shipped.heads():
        head = Head.unseal(sealed)
        if head.manifest not in stored:
            raise BadContent(
                f"the shipped head at step {head.step} names a checkpoint that is not shipped",
                "reinstall paris-p2p",
            )
        try:
            heads.add(sealed)
        except BadContent as error:
            log.warning("the shipped head of %s is skipped: %s", slot_name(head.expert), error)
