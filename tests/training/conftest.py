from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .jobs import RunFiles, write_run


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    return write_run(tmp_path)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
