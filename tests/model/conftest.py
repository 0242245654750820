from __future__ import annotations

import pytest
import torch

from .gaussians import Gaussians


@pytest.fixture
def mixture() -> Gaussians:
    return Gaussians.example()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
