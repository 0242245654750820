"""A small encoder as one safetensors file: weights, and its config as JSON in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from paris_p2p.errors import BadContent
from paris_p2p.files import write_atomically
from paris_p2p.model.weights import FLOATS, load_weights, read_metadata, serialised

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def read_config(kind: type[Config], metadata: Mapping[str, str]) -> Config:
    """The config from the JSON in the metadata. Its own checks bound every size in it.

    Raises `BadContent` when it is not JSON or does not have exactly the fields of `kind`.
    """
    try:
        given = json.loads(metadata.get("config", ""))
    except (ValueError, RecursionError) as error:
        raise BadContent("the encoder's config is not JSON") from error
    names = {field.name for field in fields(kind)}
    if not isinstance(given, dict) or given.keys() != names:
        raise BadContent(f"the encoder's config does not have the fields {sorted(names)}")
    frozen: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items()
    }
    return kind(**frozen)


def metadata_of(source: Path | bytes, form: str) -> dict[str, str]:
    """The metadata of an artefact; `BadContent` when it has another format."""
    metadata = read_metadata(source)
    if metadata.get("format") != form:
        raise BadContent(f"the encoder's format is {metadata.get('format')!r}, not {form!r}")
    return metadata


def fill(module: nn.Module, source: Path | bytes) -> None:
    """Load the float32 weights of a module that was built on the meta device.

    Raises `BadContent` when the file has other tensors than the module.
    """
    types = frozenset(FLOATS.values())
    expected = {name: (tuple(t.shape), types) for name, t in module.state_dict().items()}
    tensors = load_weights(source, expected)
    module.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)


def write(
    path: Path, module: nn.Module, metadata: dict[str, str], whole: tuple[str, ...] = ()
) -> None:
    """Write a module's weights as float16, and those named in `whole` as float32."""
    state = {
        name: tensor.to("cpu", torch.float32 if name in whole else torch.float16).contiguous()
        for name, tensor in module.state_dict().items()
    }
    write_atomically(path, serialised(state, metadata), mode=0o644)


def check_range(name: str, value: object, low: int, high: int) -> None:
    """`BadContent` unless `value` is a whole number in low .. high."""
    if type(value) is not int or not low <= value <= high:
        raise BadContent(f"{name} is {value!r}, not a whole number in {low} .. {high}")
