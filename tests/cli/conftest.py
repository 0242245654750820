from __future__ import annotations

import os

import pytest

NO_DEVICES = """
from types import SimpleNamespace
cuda = SimpleNamespace(is_available=lambda: False)
backends = SimpleNamespace(mps=cuda)
"""


@pytest.fixture
def no_gpu(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a test find a torch that has no devices, and is imported at once."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "torch.py").write_text(NO_DEVICES)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
