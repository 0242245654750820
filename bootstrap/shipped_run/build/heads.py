"""Train the shipped heads with the swarm's own software, and ship what came of it.

    python -m bootstrap.shipped_run.build.heads train --folder DIR --turns 5,10
    python -m bootstrap.shipped_run.build.heads collect --folder DIR

`train` runs two peers on this machine, one processor thread each; between them they claim every
slot in turn (`paris-peer claim-expert --minutes N`), once per number in `--turns`. Run again on the
same folder it resumes. `collect` takes the best head of every slot out of their stores, at any
time, into `heads/`.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from bootstrap.shipped_run.build import SHIPPED
from paris_p2p.files import write_atomically
from paris_p2p.home import Home
from paris_p2p.peer.books.head_book import HeadBook
from paris_p2p.peer.shipped_run import load_shipped_run
from paris_p2p.peer.training.publishing import checkpoint_name
from paris_p2p.records.head import ranked_heads
from paris_p2p.records.run import ROUTER
from paris_p2p.store.blobs import Blobs
from paris_p2p.store.chunks import ChunkStore
from peers.local_swarm import LocalSwarm, local_swarm

SLOTS = {"one": (0, 1, 2, 3, ROUTER), "two": (4, 5, 6, 7)}
"""Which peer trains what: a slot stays with its peer, which so resumes its own snapshots."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("verb", choices=("train", "collect"))
    options.add_argument("--folder", type=Path, required=True, help="where the peers live")
    options.add_argument("--turns", default="5,10", help="minutes per slot, one pass a number")
    chosen = options.parse_args()
    if chosen.verb == "train":
        train(chosen.folder, [float(minutes) for minutes in chosen.turns.split(",")])
    else:
        collect([Home(chosen.folder / name) for name in SLOTS], SHIPPED / "heads")


def train(folder: Path, turns: list[float]) -> None:
    with local_swarm(folder) as swarm:
        swarm.start("one", (), "--seed-shipped-run")
        swarm.start("two", [swarm.address("one")])
        shifts = [threading.Thread(target=_shift, args=(swarm, name, turns)) for name in SLOTS]
        for shift in shifts:
            shift.start()
        for shift in shifts:
            shift.join()


def _shift(swarm: LocalSwarm, name: str, turns: list[float]) -> None:
    for minutes in turns:
        for slot in SLOTS[name]:
            which = ["--router"] if slot == ROUTER else ["--expert", str(slot)]
            job = swarm.run(
                name, "claim-expert", *which, "--minutes", str(minutes), "--threads", "1"
            )
            job.finish(patience=minutes * 60 + 600)
            head = job.last("published") or {}
            rate = (job.last("progress") or {}).get("images_per_second", 0)
            print(
                f"{head['name']}: step {head['step']}, {head['images']} images, held-out loss "
                f"{head['held_out_loss']:.4f}, {rate:.0f} images/s",
                flush=True,
            )


def collect(homes: list[Home], target: Path) -> None:
    """Write the best head of every slot in these homes, and its checkpoint, to `target`."""
    shipped = load_shipped_run()
    found = []
    for home in homes:
        book = HeadBook(home.runs_dir / shipped.id.hex() / "heads", shipped.id, shipped.run.slots())
        blobs = Blobs(ChunkStore(home.store_dir), home.cache_dir)
        found += [
            (head, book.sealed(head), blobs) for head in book.all() if blobs.complete(head.manifest)
        ]
    worst_first = reversed(ranked_heads(head for head, _, _ in found))
    best = {head.expert: head for head in worst_first}
    target.mkdir(exist_ok=True)
    for head, sealed, blobs in found:
        if best[head.expert] == head:
            file = target / checkpoint_name(head.expert)
            write_atomically(file, blobs.read(head.manifest), mode=0o644)
            write_atomically(file.with_suffix(".head"), sealed, mode=0o644)
            print(f"{file.stem}: step {head.step}, held-out loss {head.held_out_loss:.4f}")


if __name__ == "__main__":
    main()
