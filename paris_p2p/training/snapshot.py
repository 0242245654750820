"""The exact training state in one safetensors file, never pickle.

Tensors: `network/*`, `average/*` (EMA), `moment/*` and `square/*` (AdamW's two), `generator` (the
random state) and `order` (the rest of the current pass over the samples). Metadata: the counters.

The same file is private as a snapshot and public as a resume state, so it may come from a stranger.
Names, shapes and types are checked before a tensor is built, values before they are used. Nothing
is changed until every check has passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor
from torch.optim import AdamW

from paris_p2p.errors import BadContent
from paris_p2p.files import write_atomically
from paris_p2p.model.expert import Expert
from paris_p2p.model.out_of_memory import out_of_memory
from paris_p2p.model.router import Router
from paris_p2p.model.weights import MAX_HEADER_BYTES, serialised
from paris_p2p.training.job import LARGEST_COUNT

FORMAT: Final = "paris-snapshot/1"
BETAS: Final = (0.9, 0.999)
"""AdamW's betas."""

_COUNTERS: Final = ("slot", "step", "images", "updates")
_TYPES: Final = {"F32": torch.float32, "U8": torch.uint8, "I64": torch.int64}
_PROBES: Final = 1024

MOMENT_BOUND: Final = 8.0
"""|m| <= c sqrt(v) for any m, v that AdamW can reach, by the Cauchy-Schwarz inequality:
c = (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)) = 7.27 for our BETAS."""

MOMENT_FLOOR: Final = 1e-12
"""Moments below this may remain when their squares are too small for a float32."""

Network = TypeVar("Network", Expert, Router)


@dataclass
class TrainingState(Generic[Network]):
    """The state that a step changes. `updates` counts the optimizer's steps since a reset."""

    slot: int
    network: Network
    average: Network
    optimizer: AdamW
    generator: Generator
    order: Tensor
    step: int = 0
    images: int = 0
    updates: int = 0


def save_snapshot(path: Path, state: TrainingState[Network]) -> None:
    """Write the whole state to `path`, atomically; DiskFull when it does not fit."""
    metadata = {name: str(getattr(state, name)) for name in _COUNTERS}
    write_atomically(path, serialised(_tensors_of(state), {"format": FORMAT, **metadata}))


def load_snapshot(path: Path, state: TrainingState[Network], samples: int) -> None:
    """Fill `state`, built for the same slot and sizes, from `path`.

    Parameters
    ----------
    samples : number of training samples; the order may name only these.

    BadContent when the file is not a state that this training can reach. `state` is then unchanged.
    """
    try:
        _check_header_size(path)
        with safe_open(path, framework="pt") as file:
            counters = _counters(file.metadata() or {}, state.slot)
            _check_header(file, _expected(state, counters["updates"]))
            _check_length(file.get_slice("order").get_shape(), samples)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _check_values(tensors)
        _check_order(tensors["order"], samples)
        generator = _generator(tensors["generator"])
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise BadContent(
            f"the training state {path.name} cannot be resumed: {error}",
            "delete it to start from the newest published checkpoint",
        ) from error
    _restore(state, counters, tensors, generator)


def _check_header_size(path: Path) -> None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")


def _counters(metadata: Mapping[str, str], slot: int) -> dict[str, int]:
    if metadata.get("format") != FORMAT:
        raise ValueError("it has another format")
    counters = {name: int(metadata[name][:20]) for name in _COUNTERS}
    if counters["slot"] != slot:
        raise ValueError("it belongs to another slot")
    if not 0 <= counters["updates"] <= counters["step"] <= LARGEST_COUNT:
        raise ValueError("its step counters contradict each other")
    if not 0 <= counters["images"] <= LARGEST_COUNT:
        raise ValueError("its image counter is out of bounds")
    return counters


def _expected(state: TrainingState[Network], updates: int) -> dict[str, tuple[int, ...] | None]:
    """Shape of every tensor by its name in the file; None where the length is free."""
    networks = {"network/": state.network, "average/": state.average}
    weights = {
        prefix + name: tuple(tensor.shape)
        for prefix, network in networks.items()
        for name, tensor in network.state_dict().items()
    }
    moments = {
        kind + name: tuple(parameter.shape)
        for kind in ("moment/", "square/")
        for name, parameter in state.network.named_parameters()
        if updates
    }
    return {**weights, **moments, "generator": tuple(state.generator.get_state().shape)} | {
        "order": None
    }


def _check_header(file: Any, expected: Mapping[str, tuple[int, ...] | None]) -> None:
    found = set(file.keys())
    if different := found ^ expected.keys():
        problem = "is unknown" if min(different) in found else "is missing"
        raise ValueError(f"tensor {min(different)[:80]} {problem}")
    for name, shape in expected.items():
        entry = file.get_slice(name)
        if shape is not None and tuple(entry.get_shape()) != shape:
            raise ValueError(f"tensor {name} must have shape {list(shape)}")
        wanted = {"generator": torch.uint8, "order": torch.int64}.get(name, torch.float32)
        if _TYPES.get(entry.get_dtype()) != wanted:
            raise ValueError(f"tensor {name} may not be stored as {entry.get_dtype()}")


def _check_values(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name} has values that are not finite")
    for name, moment in _under("moment/", tensors).items():
        square = tensors["square/" + name]
        if (square < 0).any() or (moment.abs() > MOMENT_BOUND * square.sqrt() + MOMENT_FLOOR).any():
            raise ValueError(f"AdamW cannot reach the moments of {name}")


def _check_length(shape: Sequence[int], samples: int) -> None:
    if len(shape) != 1 or shape[0] > samples:
        raise ValueError("its order is of another shard")


def _check_order(order: Tensor, samples: int) -> None:
    """The rest of a pass: some of the samples, each once."""
    if ((order < 0) | (order >= samples)).any():
        raise ValueError("its order is of another shard")
    if len(torch.unique(order)) != len(order):
        raise ValueError("its order names a sample twice")


def _generator(state: Tensor) -> Generator:
    """A generator in this state, after a copy of it has drawn valid normal numbers."""
    probe, generator = Generator(), Generator()
    generator.set_state(state)
    probe.set_state(state)
    first = [torch.randn(1, generator=probe, dtype=kind) for kind in (torch.float, torch.double)]
    many = torch.randn(_PROBES, generator=probe)
    if any(not draw.abs() < 10 for draw in first) or not 0.8 < many.std() < 1.2:
        raise ValueError("its random state does not give random numbers")
    return generator


def _restore(
    state: TrainingState[Network],
    counters: Mapping[str, int],
    tensors: Mapping[str, Tensor],
    generator: Generator,
) -> None:
    for name, count in counters.items():
        setattr(state, name, count)
    state.network.load_state_dict(_under("network/", tensors))
    state.average.load_state_dict(_under("average/", tensors))
    _restore_moments(state, tensors)
    state.generator.set_state(generator.get_state())
    state.order = tensors["order"].clone()


def _restore_moments(state: TrainingState[Network], tensors: Mapping[str, Tensor]) -> None:
    state.optimizer.state.clear()
    if state.updates == 0:
        return
    for name, parameter in state.network.named_parameters():
        state.optimizer.state[parameter] = {
            "step": torch.tensor(float(state.updates), device=parameter.device),
            "exp_avg": tensors["moment/" + name].clone().to(parameter.device),
            "exp_avg_sq": tensors["square/" + name].clone().to(parameter.device),
        }


def _tensors_of(state: TrainingState[Network]) -> dict[str, Tensor]:
    tensors = {"generator": state.generator.get_state(), "order": state.order}
    tensors |= {"network/" + name: value for name, value in state.network.state_dict().items()}
    tensors |= {"average/" + name: value for name, value in state.average.state_dict().items()}
    for name, parameter in state.network.named_parameters():
        if moments := state.optimizer.state.get(parameter):
            tensors["moment/" + name] = moments["exp_avg"]
            tensors["square/" + name] = moments["exp_avg_sq"]
    return tensors


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
