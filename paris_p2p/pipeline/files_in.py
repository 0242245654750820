"""The files of a folder from elsewhere: bounded, never pickled, and named in every complaint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from paris_p2p.errors import BadContent
from paris_p2p.pipeline.layout import DIFFUSERS_WEIGHTS, PICKLES, TRANSFORMERS_WEIGHTS

MOST_TEXT: Final = 8 << 20
"""Most bytes of a text file; the vocabulary of a CLIP has one million."""

INDIFFERENT: Final = frozenset(
    {
        "_class_name",
        "_diffusers_version",
        "sample_size",
        "scaling_factor",
        "force_upcast",
        "dropout",
    }
)
"""Settings that say nothing about what a network computes, or are read elsewhere."""


@contextmanager
def at(path: Path) -> Iterator[None]:
    """Name the file in the BadContent of the block."""
    try:
        yield
    except BadContent as error:
        raise BadContent(f"{path}: {error.message}", error.remedy) from error


def read_text(path: Path) -> str:
    """A text file of at most MOST_TEXT bytes."""
    try:
        if path.stat().st_size > MOST_TEXT:
            raise BadContent(f"{path} is larger than {MOST_TEXT} bytes")
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        raise BadContent(f"there is no {path}") from error
    except (OSError, ValueError) as error:
        raise BadContent(f"{path} cannot be read as text") from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise BadContent(f"{path} is not JSON") from error
    if not isinstance(value, dict):
        raise BadContent(f"{path} is not a JSON object")
    return value


def weights_in(folder: Path) -> Path:
    """The safetensors file of a component."""
    for name in (DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    for file in sorted(folder.glob("*")):
        if file.suffix in PICKLES:
            raise BadContent(
                f"{file} is not read: loading it could run a stranger's code",
                "have the folder's author save it as safetensors",
            )
    raise BadContent(f"there is neither {DIFFUSERS_WEIGHTS} nor {TRANSFORMERS_WEIGHTS} in {folder}")


def expect_same(config: Mapping[str, Any], built: Mapping[str, Any]) -> None:
    """BadContent, with the setting's name, if a config asks for another network than was `built`.

    Settings that it leaves out have diffusers' defaults.
    """
    for name, value in built.items():
        told = config.get(name, value)
        told = list(told) if isinstance(told, tuple) else told
        if name not in INDIFFERENT and told != (list(value) if isinstance(value, tuple) else value):
            raise BadContent(f"{name} is {told!r}, and only {value!r} is read")
