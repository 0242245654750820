"""Tensor files in and out: safetensors only, checked completely before a tensor is built.

A file starts with the length of its header (8 bytes, little-endian), the header (JSON: per tensor
its dtype, shape and byte range) and then the bytes. The header of a file from a stranger must name
exactly the tensors expected, in the shapes expected; only then is the rest read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from paris_p2p.errors import BadContent
from paris_p2p.files import write_atomically
from paris_p2p.model.out_of_memory import out_of_memory

MAX_HEADER_BYTES: Final = 1 << 20
"""XL/2 has about 700 tensors and a header of 90 kB."""

MOST_WEIGHT: Final = 2.0**16
"""More than half precision can hold; working networks stay far below."""

_NAMES: Final = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
}
"""Types as safetensors calls them."""

FLOATS: Final[Mapping[str, torch.dtype]] = {
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
}
"""Types that published weights may be stored as, by safetensors' names."""

Expected = Mapping[str, tuple[tuple[int, ...], frozenset[torch.dtype]]]
"""Tensor name -> its shape and its allowed types."""


class Published(Protocol):
    """A network. Its `core` is the module that is published, under that module's tensor names."""

    @property
    def core(self) -> nn.Module: ...


def save_weights(
    path: Path, network: Published, metadata: Mapping[str, str], dtype: torch.dtype
) -> None:
    """Write the network's tensors as `dtype` to `path`, atomically. Raises DiskFull."""
    write_atomically(path, serialised(network.core.state_dict(), metadata, dtype))


def serialised(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype | None = None
) -> Iterator[bytes | memoryview]:
    """A safetensors file, part by part, so that memory holds one tensor's copy at a time.

    Its bytes depend on the tensors and the metadata alone. Tensors may lie on any device. They are
    stored as `dtype`, or as what each is without.
    """
    ordered = sorted(tensors, key=lambda name: (-_itemsize(tensors[name], dtype), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in ordered:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * _itemsize(tensor, dtype)
        header[name] = {
            "dtype": _NAMES[dtype or tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in ordered:
        stored = tensors[name].detach().to("cpu", dtype or tensors[name].dtype).contiguous()
        yield stored.flatten().view(torch.uint8).numpy().data


def load_into(network: Published, source: Path | bytes) -> None:
    """Fill `network` with the weights at `source`. After BadContent it is unchanged."""
    network.core.load_state_dict(load_weights(source, expected_of(network)))


def expected_of(network: Published) -> Expected:
    """The names and shapes that a file for `network` must have, in any published float type."""
    types = frozenset(FLOATS.values())
    state = network.core.state_dict()
    return {name: (tuple(tensor.shape), types) for name, tensor in state.items()}


def load_weights(source: Path | bytes, expected: Expected) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which must be exactly those `expected`.

    BadContent when the file is not safetensors, truncated or too large, when a tensor is missing,
    unknown or of another shape or type, or when a value is not finite or beyond MOST_WEIGHT.
    """
    header = _read_header(source)
    _check_header(header, expected)
    _check_size(source, header)
    tensors = _build(source)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise BadContent(f"tensor {name} has values that are not finite")
        if tensor.numel() and tensor.abs().max() > MOST_WEIGHT:
            raise BadContent(f"tensor {name} has values over {MOST_WEIGHT:.0f}")
    return tensors


def read_metadata(source: Path | bytes) -> dict[str, str]:
    """The free-text metadata of a safetensors file; BadContent when its header is not valid."""
    metadata = _read_header(source).get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadContent("the tensor file's metadata is not a table of text")
    return metadata


def tensor_names(source: Path | bytes) -> set[str]:
    """The names of the tensors in a file; BadContent when its header is not valid."""
    return _read_header(source).keys() - {"__metadata__"}


def _read_header(source: Path | bytes) -> dict[str, Any]:
    length = int.from_bytes(_read(source, 0, 8), "little")
    if length > MAX_HEADER_BYTES:
        raise BadContent(f"a header of {length} bytes is no safetensors file of ours")
    try:
        header = json.loads(_read(source, 8, length))
    except (ValueError, RecursionError) as error:
        raise BadContent("the file is not safetensors: its header is not JSON") from error
    if not isinstance(header, dict):
        raise BadContent("the file is not safetensors: its header is not a table")
    return header


def _check_header(header: Mapping[str, Any], expected: Expected) -> None:
    names = header.keys() - {"__metadata__"}
    if missing := expected.keys() - names:
        raise BadContent(f"{len(missing)} tensors are missing, the first is {min(missing)}")
    if unknown := names - expected.keys():
        raise BadContent(f"{len(unknown)} tensors are unknown, the first is {min(unknown)[:80]}")
    for name, (shape, types) in expected.items():
        entry = header[name] if isinstance(header[name], dict) else {}
        if entry.get("shape") != list(shape):
            raise BadContent(f"tensor {name} must have shape {list(shape)}")
        if FLOATS.get(str(entry.get("dtype"))) not in types:
            raise BadContent(f"tensor {name} may not be stored as {str(entry.get('dtype'))[:16]}")


def _check_size(source: Path | bytes, header: Mapping[str, Any]) -> None:
    """Check that the file ends where its shapes and types, already checked, say."""
    body = sum(
        prod(entry["shape"]) * FLOATS[entry["dtype"]].itemsize
        for name, entry in header.items()
        if name != "__metadata__"
    )
    length = 8 + int.from_bytes(_read(source, 0, 8), "little") + body
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size != length:
        raise BadContent(f"the tensor file has {size} bytes and should have {length}")


def _build(source: Path | bytes) -> dict[str, Tensor]:
    """The tensors, read by the safetensors library, which checks that their byte ranges fit.

    Those of a file are memory-mapped: they take no memory until they are used.
    """
    try:
        return load_file(source) if isinstance(source, Path) else load(source)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise BadContent(f"the tensor file is damaged: {error}") from error


def _itemsize(tensor: Tensor, dtype: torch.dtype | None) -> int:
    return (dtype or tensor.dtype).itemsize


def _read(source: Path | bytes, start: int, length: int) -> bytes:
    """Exactly `length` bytes from `start`; BadContent when the file ends before that."""
    if isinstance(source, bytes):
        part = source[start : start + length]
    else:
        with source.open("rb") as file:
            file.seek(start)
            part = file.read(length)
    if len(part) < length:
        raise BadContent("the tensor file is truncated")
    return part
