"""The encoders in a run's contents, whichever form they are in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from paris_p2p.model.encoders import autoencoder, autoencoder_kl, clip, text_tower
from paris_p2p.model.encoders.autoencoder import Autoencoder
from paris_p2p.model.encoders.towers import TextEncoder
from paris_p2p.model.weights import read_metadata

Encoder = TypeVar("Encoder")


def load_stored_autoencoder(source: Path | bytes) -> Autoencoder:
    """The autoencoder in a content; `BadContent` if anything in it is wrong."""
    larger = {autoencoder_kl.FORMAT: autoencoder_kl.load_autoencoder_kl}
    return _loaded(source, larger, autoencoder.load_autoencoder)


def load_stored_text_encoder(source: Path | bytes) -> TextEncoder:
    """The text encoder in a content; `BadContent` if anything in it is wrong."""
    alone = {text_tower.FORMAT: text_tower.load_text_tower}
    return _loaded(source, alone, clip.load_text_encoder)


def _loaded(
    source: Path | bytes,
    loaders: Mapping[str, Callable[[Path | bytes], Encoder]],
    otherwise: Callable[[Path | bytes], Encoder],
) -> Encoder:
    """The encoder, by the loader of its form. `otherwise` refuses the unknown ones, too."""
    form = read_metadata(source).get("format", "")
    return loaders.get(form, otherwise)(source)
