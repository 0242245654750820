"""This machine can be measured, and a measurement that fails says why."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import paris_p2p
from paris_p2p.home import Home
from paris_p2p.identity import Identity
from paris_p2p.peer.doctor import machine_probes
from tests.network.worlds import LibP2PWorld


def test_the_versions_are_those_installed() -> None:
    found = machine_probes.versions()
    assert found["paris-p2p"] == paris_p2p.__version__
    assert None not in found.values()


def test_a_package_that_is_missing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_probes, "PACKAGES", ("no-such-package-here",))
    assert machine_probes.versions()["no-such-package-here"] is None


def test_disk_and_store_are_measured(tmp_path: Path) -> None:
    home = Home(tmp_path / "not" / "yet" / "there")
    assert machine_probes.free_space(home) > 0
    assert machine_probes.store_size(home) == 0
    home.create()
    (home.store_dir / "ab").mkdir()
    (home.store_dir / "ab" / "chunk").write_bytes(bytes(1000))
    assert machine_probes.store_size(home) >= 1000


def test_a_synced_write_takes_time_and_leaves_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert machine_probes.sync_time(home) > 0
    assert list(home.cache_dir.iterdir()) == []


def test_memory_and_files_are_positive_numbers() -> None:
    memory = machine_probes.available_memory()
    assert memory is not None and memory > 0
    assert machine_probes.open_files() > 0


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1048576\n")
    monkeypatch.setattr(machine_probes, "CGROUP_LIMITS", (str(limit), str(tmp_path / "absent")))
    assert machine_probes.available_memory() == 1 << 20
    limit.write_text("max\n")
    assert machine_probes.available_memory() != 1 << 20


def test_a_port_in_use_is_named_and_a_free_one_is_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in machine_probes.port_trouble("127.0.0.1", port)
    assert machine_probes.port_trouble("127.0.0.1", 0) == ""
    assert machine_probes.port_trouble("203.0.113.9", 0) != ""


def test_udp_trouble_names_the_address() -> None:
    assert machine_probes.udp_trouble("127.0.0.1") == ""
    assert "203.0.113.9" in machine_probes.udp_trouble("203.0.113.9")


@pytest.mark.process
async def test_a_bootstrap_answers_as_itself_as_another_or_not_at_all() -> None:
    async with LibP2PWorld() as world:
        peer = await world.start()
        (address,) = peer.addresses()
        imposter = address.replace(address.split("/p2p/")[1], Identity.generate().peer_id)
        dead = f"/ip4/127.0.0.1/tcp/9/p2p/{Identity.generate().peer_id}"
        troubles = await machine_probes.bootstrap_troubles((address, imposter, dead))
    assert troubles[address] == ""
    assert troubles[imposter] == "another peer answers there"
    assert troubles[dead] != ""


def made(stdout: str) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], 0, stdout, "")


def test_devices_are_read_from_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: made(json.dumps([["H100", 80]])))
    assert machine_probes.training_devices() == [("H100", 80)]


@pytest.mark.parametrize("words", ["", "{}x", "[1]", '[["a", null]]'])
def test_an_answer_that_is_none_is_a_text(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: made(words))
    assert isinstance(machine_probes.training_devices(), str)


@pytest.mark.process
def test_a_torch_that_breaks_or_hangs_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def instead(code: str, patience: float) -> Callable[..., object]:
        def run(command: list[str], **options: object) -> object:
            return real([sys.executable, "-c", code], **{**options, "timeout": patience})

        return run

    broken = "raise ImportError('libcudart.so.13: no such file')"
    monkeypatch.setattr(subprocess, "run", instead(broken, 60))
    assert "libcudart.so.13" in machine_probes.training_devices()
    monkeypatch.setattr(subprocess, "run", instead("import time; time.sleep(60)", 0.2))
    assert "within" in machine_probes.training_devices()
