from __future__ import annotations

from pathlib import Path

import pytest

from tests.sampling.shelf import Shelf
from tests.sampling.shelf import full_shelf as full_shelf  # a fixture


@pytest.fixture
def shelf(full_shelf: Shelf) -> Shelf:
    """The shelf, with nothing asked of it yet."""
    return Shelf(full_shelf.folder)


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers copies the modules of folders to where nothing of a user lies."""
    at = "diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE"
    monkeypatch.setattr(at, str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
