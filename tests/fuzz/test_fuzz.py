"""The short form: a few inputs at every reader but the tensors', the same ones every time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from . import conversations, http, node, proofs, records, text
from .mutate import Mutator
from .target import Finding, Target, run

INPUTS = 3000
"""In all targets together."""


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Target]]:
    loop = asyncio.new_event_loop()
    with ExitStack() as stack:
        found = [
            *records.targets(),
            *stack.enter_context(text.targets()),
            *stack.enter_context(node.targets(loop)),
            *stack.enter_context(conversations.targets(loop)),
            *stack.enter_context(proofs.targets(loop)),
            *stack.enter_context(http.targets(loop)),
        ]
        yield {target.name: target for target in found}
    loop.close()


def test_every_reader_refuses_what_it_should(targets: dict[str, Target]) -> None:
    for target in targets.values():
        share = max(30, INPUTS * target.weight // 1000)
        assert run(target, seed=2, numbers=range(share)) == share


def test_a_reader_that_fails_is_found() -> None:
    def fragile(mutator: Mutator) -> None:
        if not mutator.rng.randrange(5):
            raise KeyError("what nobody declared")

    with pytest.raises(Finding, match="KeyError"):
        run(Target("fragile", 1, fragile), seed=1, numbers=range(100))


def test_an_input_is_repeated_by_its_number() -> None:
    seen: list[bytes] = []
    target = Target("any", 1, lambda mutator: seen.append(mutator.bent(bytes(40))))
    run(target, seed=3, numbers=range(20))
    run(target, seed=3, numbers=range(7, 8))
    assert seen[7] == seen[20] and len(set(seen)) > 10


def test_mutations_reach_everything() -> None:
    """Over many inputs, a valid one is sometimes kept whole and sometimes lost entirely."""
    bent = {len(Mutator(random.Random(n)).bent(bytes(100))) for n in range(300)}
    assert min(bent) < 20 and 100 in bent and max(bent) > 200
