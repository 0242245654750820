"""Attacks on the readers of tensor files: weights, shards, snapshots. The only ones with torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from paris_p2p.data.shards import read_shard, write_shard
from paris_p2p.errors import BadContent
from paris_p2p.model.weights import load_weights, read_metadata
from paris_p2p.training.snapshot import load_snapshot, save_snapshot
from tests.training.jobs import LATENT_SHAPE, TEXT_CONTEXT, a_shard
from tests.training.test_snapshot import SAMPLES, a_state

from .mutate import Mutator
from .target import Target

FLOATS = frozenset({torch.float32, torch.bfloat16})
EXPECTED = {"a": ((2, 3), FLOATS), "b": ((4,), FLOATS)}
SIZES = (-1, 0, 1, 2**31, 2**62, 2**64, 1e18, "9", None, [])
DTYPES = ("F32", "BF16", "F64", "I64", "BOOL", "F8_E4M3", "", None, 7)


@contextmanager
def targets() -> Iterator[list[Target]]:
    torch.set_num_threads(1)
    with TemporaryDirectory(prefix="paris-fuzz-") as folder:
        files = Files(Path(folder))
        yield [
            Target("weights", 30, files.weights),
            Target("shards", 14, files.shard),
            Target("snapshots", 6, files.snapshot),
        ]


class Files:
    """One valid file of each kind, to be bent."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "bent.safetensors"
        self._weights = save({"a": torch.ones(2, 3), "b": torch.ones(4).bfloat16()}, {"step": "7"})
        write_shard(self._file, a_shard(0, 2, 1))
        self._shard = self._file.read_bytes()
        save_snapshot(self._file, a_state())
        self._snapshot = self._file.read_bytes()
        self._state = a_state(trained=False)

    def weights(self, mutator: Mutator) -> None:
        """What is accepted has the names and shapes expected, and only finite numbers."""
        data = _bent_file(mutator, self._weights)
        source: bytes | Path = data
        if mutator.rng.random() < 0.1:
            self._file.write_bytes(data)
            source = self._file
        with suppress(BadContent):
            tensors = load_weights(source, EXPECTED)
            assert tensors.keys() == EXPECTED.keys()
            assert all(_fits(tensors[name], EXPECTED[name][0]) for name in EXPECTED)
        with suppress(BadContent):
            assert all(isinstance(text, str) for text in read_metadata(source).values())

    def shard(self, mutator: Mutator) -> None:
        """What is accepted can be trained on: matching rows, a scale, no negative ids."""
        data = _bent_file(mutator, self._shard)
        with suppress(BadContent):
            shard = read_shard(data, latent_shape=LATENT_SHAPE, context_length=TEXT_CONTEXT)
            assert len(shard.latents) == len(shard.text_ids) > 0
            assert shard.train_latents().isfinite().all() and (shard.text_ids.long() >= 0).all()

    def snapshot(self, mutator: Mutator) -> None:
        """A file of a stranger, or of a failing disk: it restores, or it says why not."""
        self._file.write_bytes(_bent_file(mutator, self._snapshot))
        with suppress(BadContent):
            load_snapshot(self._file, self._state, SAMPLES)


def _bent_file(mutator: Mutator, data: bytes) -> bytes:
    """The file with bent bytes, or with a header that says something else."""
    if mutator.rng.random() < 0.3:
        return mutator.bent(data)
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    encoded = json.dumps(_bent_header(mutator, header)).encode()
    claimed = mutator.rng.choice((len(encoded),) * 6 + (2**63, 2**64 - 1, 1 << 20, 0))
    return claimed.to_bytes(8, "little") + encoded + body


def _bent_header(mutator: Mutator, header: dict[str, Any]) -> Any:
    name = mutator.rng.choice(list(header))
    entry = dict(header[name])
    match mutator.rng.randrange(7):
        case 0:
            entry["shape"] = [mutator.rng.choice(SIZES) for _ in range(mutator.rng.randrange(4))]
        case 1:
            entry["data_offsets"] = [mutator.rng.choice(SIZES), mutator.rng.choice(SIZES)]
        case 2:
            entry["dtype"] = mutator.rng.choice(DTYPES)
        case 3:
            return {**header, mutator.rng.choice(("x", "", "__metadata__")): entry}
        case 4:
            return {key: value for key, value in header.items() if key != name}
        case 5:
            return mutator.rng.choice(([], None, "header", {name: []}, {name: None}, 7))
        case _:
            entry = mutator.value(json.loads(json.dumps(entry)))
            return {**header, name: _plain(entry)}
    return {**header, name: entry}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _fits(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    return tuple(tensor.shape) == shape and bool(tensor.isfinite().all())
