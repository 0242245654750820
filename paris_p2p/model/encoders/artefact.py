"""A small encoder as one safetensors file: weights, and its config as JSON in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import safetensors.torch
import torch
from torch import nn

from paris_p2p.errors import BadContent
from paris_p2p.home import write_atomically
from paris_p2p.model.weights import FLOATS, load_weights, read_metadata

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def read_config(kind: type[Config], metadata: Mapping[str, str]) -> Config:
    """The config, JSON in the metadata; its own checks bound every size in it.

    Raises `BadContent` where it is no JSON or does not have exactly the fields of `kind`.
    """
    try:
        given = json.loads(metadata.get("config", ""))
    except (ValueError, RecursionError) as error:
        raise BadContent("the encoder's config is no JSON") from error
    names = {field.name for field in fields(kind)}
    if not isinstance(given, dict) or given.keys() != names:
        raise BadContent(f"the encoder's config does not have the fields {sorted(names)}")
    frozen: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in given.items()
    }
    return kind(**frozen)


def metadata_of(source: Path | bytes, form: str) -> dict[str, str]:
    """The metadata of an artefact; `BadContent` where it is of another format."""
    metadata = read_metadata(source)
    if metadata.get("format") != form:
        raise BadContent(f"the encoder's format is {metadata.get('format')!r}, not {form!r}")
    return metadata


def fill(module: nn.Module, source: Path | bytes) -> None:
    """Give a module that was built on the meta device its weights, as float32.

    Raises `BadContent` where the file has other tensors than the module.
    """
    types = frozenset(FLOATS.values())
    expected = {name: (tuple(t.shape), types) for name, t in module.state_dict().items()}
    tensors = load_weights(source, expected)
    module.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)


def write(
    path: Path, module: nn.Module, metadata: dict[str, str], whole: tuple[str, ...] = ()
) -> None:
    """Write a module's weights as float16, those named in `whole` as float32."""
    state = {
        name: tensor.to("cpu", torch.float32 if name in whole else torch.float16).contiguous()
        for name, tensor in module.state_dict().items()
    }
    write_atomically(path, safetensors.torch.save(state, metadata), mode=0o644)


def check_range(name: str, value: object, low: int, high: int) -> None:
    """`BadContent` unless `value` is a whole number in low .. high."""
    if type(value) is not int or not low <= value <= high:
        raise BadContent(f"{name} is {value!r}, not a whole number in {low} .. {high}")
