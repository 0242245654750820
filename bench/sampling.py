"""Seconds from a command to its picture, beside a peer that runs: `python -m bench.sampling`.

The first prompt after the peer's start, then three others, each by a command of its own, on the
shipped run.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from peers.local_swarm import LocalSwarm, local_swarm

PROMPTS = ("blue heart, noto style", "cat face", "cookie, 3d style", "red apple")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, local_swarm(Path(folder)) as swarm:
        swarm.start("peer", (), "--seed-shipped-run")
        for number, prompt in enumerate(PROMPTS, 1):
            print(f"prompt {number}  {_seconds(swarm, prompt):6.2f} s", flush=True)


def _seconds(swarm: LocalSwarm, prompt: str) -> float:
    picture = swarm.folder / "picture.png"
    began = time.perf_counter()
    drawing = swarm.run("peer", "fetch-and-sample", prompt, "-o", str(picture))
    drawing.finish()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
