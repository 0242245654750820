"""The long form: `python -m tests.fuzz --inputs 1000000`. Says what it did, target by target."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from . import conversations, http, node, proofs, records, tensors, text
from .target import Finding, Target, run

GROWTH = 64 << 20
"""Bytes the process may grow from the first tenth of the inputs to the last."""

ROUNDS = 10


@contextmanager
def all_targets() -> Iterator[list[Target]]:
    loop = asyncio.new_event_loop()
    with ExitStack() as stack:
        yield [
            *records.targets(),
            *stack.enter_context(text.targets()),
            *stack.enter_context(node.targets(loop)),
            *stack.enter_context(conversations.targets(loop)),
            *stack.enter_context(proofs.targets(loop)),
            *stack.enter_context(http.targets(loop)),
            *stack.enter_context(tensors.targets()),
        ]
    loop.close()


def fuzz(targets: list[Target], inputs: int, seed: int) -> dict[str, int]:
    """Attack every target by its weight, in rounds; how many inputs each got. Raises `Finding`."""
    total = sum(target.weight for target in targets)
    shares = {target.name: -(-inputs * target.weight // total) for target in targets}
    done = dict.fromkeys(shares, 0)
    settled = 0
    for round_ in range(1, ROUNDS + 1):
        for target in targets:
            upto = shares[target.name] * round_ // ROUNDS
            done[target.name] += run(target, seed, range(done[target.name], upto))
        print(f"{sum(done.values())} inputs, {memory() >> 20} MiB", flush=True)
        settled = settled or memory()
    if (grown := memory() - settled) > GROWTH:
        raise Finding(f"the process has grown by {grown >> 20} MiB")
    return done


def memory() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="in all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", help="this one alone")
    parser.add_argument("--number", type=int, help="this input alone")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with all_targets() as targets:
        chosen = [target for target in targets if options.target in (None, target.name)]
        if not chosen:
            print(f"no such target; there are: {', '.join(t.name for t in targets)}")
            return 2
        if options.number is not None:
            for target in chosen:
                run(target, options.seed, range(options.number, options.number + 1))
            return 0
        began = time.monotonic()
        done = fuzz(chosen, options.inputs, options.seed)
        for name, count in done.items():
            print(f"{count:>9} {name}")
        print(f"{sum(done.values()):>9} in all, {time.monotonic() - began:.0f} s, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
