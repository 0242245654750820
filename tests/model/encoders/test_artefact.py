"""A file that is not an artefact, or is another one than expected, is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paris_p2p.errors import BadContent
from paris_p2p.model.encoders.autoencoder import load_autoencoder
from paris_p2p.model.encoders.clip import load_text_encoder

from .small import rewritten


def test_another_format_is_refused(autoencoder: Path, clip: Path) -> None:
    with pytest.raises(BadContent, match="format"):
        load_autoencoder(clip)
    with pytest.raises(BadContent, match="format"):
        load_text_encoder(autoencoder)


@pytest.mark.parametrize("config", ["", "[]", "{}", "null", "[" * 100_000])
def test_a_config_that_is_none_is_refused(autoencoder: Path, config: str) -> None:
    with pytest.raises(BadContent):
        load_autoencoder(rewritten(autoencoder, {"config": config}))


@pytest.mark.parametrize(
    "tensors",
    [
        {"shift": None},
        {"surplus": torch.zeros(1)},
        {"shift": torch.zeros(5)},
        {"shift": torch.zeros(4, dtype=torch.int8)},
        {"shift": torch.tensor([0.0, float("nan"), 0.0, 0.0])},
    ],
)
def test_other_tensors_are_refused(
    autoencoder: Path, tensors: dict[str, torch.Tensor | None]
) -> None:
    with pytest.raises(BadContent):
        load_autoencoder(rewritten(autoencoder, **tensors))


def test_a_cut_file_is_refused(autoencoder: Path) -> None:
    data = autoencoder.read_bytes()
    for cut in (0, 7, 100, len(data) - 1):
        with pytest.raises(BadContent):
            load_autoencoder(data[:cut])
