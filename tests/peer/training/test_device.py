from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paris_p2p.peer.training import device
from paris_p2p.peer.training.device import training_device
from paris_p2p.records.device_fit import Device


@pytest.fixture(autouse=True)
def not_measured_before() -> Iterator[None]:
    device._graphics_memory.cache_clear()
    yield
    device._graphics_memory.cache_clear()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "GRAPHICS", (tmp_path,))


def test_without_a_driver_training_has_the_memory_of_the_machine_and_torch_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "GRAPHICS", ())
    monkeypatch.setattr(device, "training_devices", lambda: pytest.fail("torch was asked"))
    monkeypatch.setattr(device, "available_memory", lambda: 7)
    assert training_device() == Device(7)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("found", "memory"),
    [([("big", 80), ("small", 8)], 80), ([("Apple MPS", 0)], 7), ([], 7), ("torch broke", 7)],
)
def test_the_first_graphics_card_is_what_training_takes(
    monkeypatch: pytest.MonkeyPatch, found: object, memory: int
) -> None:
    monkeypatch.setattr(device, "training_devices", lambda: found)
    monkeypatch.setattr(device, "available_memory", lambda: 7)
    assert training_device() == Device(memory)


def test_what_cannot_be_measured_stands_in_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "GRAPHICS", ())
    monkeypatch.setattr(device, "available_memory", lambda: None)
    assert training_device() is None
