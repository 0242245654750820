"""No process of ours runs code from the folder that it happens to be started in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paris_p2p import child
from paris_p2p.errors import ParisError, WorkerDied
from paris_p2p.home import Home
from paris_p2p.peer.doctor import machine_probes
from paris_p2p.peer.training.worker_handle import Worker

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
PLANTED = ("random", "socket", "json", "torch", "paris_p2p")


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We are in a folder that anybody may write; its modules leave a file `run` beside them."""
    folder = tmp_path / "trap"
    folder.mkdir()
    folder.chmod(0o777)
    bait = f"import pathlib; pathlib.Path({str(folder / 'run')!r}).write_text(__name__)\n"
    for name in PLANTED:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(bait)
    (folder / "random.py").write_text(bait)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(folder)
    return folder


def test_a_command_and_the_peer_that_it_starts_run_nothing_of_the_current_folder(
    trap: Path, tmp_path: Path
) -> None:
    paris_peer = Path(sys.executable).with_name("paris-peer")
    done = subprocess.run(
        [paris_peer, "status", "--home", str(tmp_path / "home")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert not (trap / "run").exists(), (trap / "run").read_text()
    assert done.returncode == 0, done.stderr


async def test_a_worker_runs_nothing_of_the_current_folder(trap: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with pytest.raises(ParisError) as met:
        async for _ in Worker(home.log_file).run({"out_dir": str(home.path)}):
            pass
    assert not (trap / "run").exists(), (trap / "run").read_text()
    assert not isinstance(met.value, WorkerDied), "our own worker refused the job"


def test_the_devices_are_asked_for_without_the_current_folder(trap: Path) -> None:
    devices = machine_probes.training_devices()
    assert not (trap / "run").exists(), (trap / "run").read_text()
    assert isinstance(devices, list), devices


def test_a_start_folder_that_is_gone_harms_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert isinstance(machine_probes.training_devices(), list)


def test_what_pythonpath_names_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("named", "root"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"from_{name}.py").write_text("print(__name__)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["named", ""]))
    code = "import from_named, from_root; assert '' not in __import__('sys').path"
    (tmp_path / "root" / "main.py").write_text(code)
    subprocess.run(
        child.command("main"),
        cwd="/",
        env=child.environment(tmp_path / "root"),
        check=True,
        timeout=60,
    )


def test_every_python_process_of_the_project_is_started_that_way() -> None:
    """Nothing else names `-m` to the interpreter."""
    folders = ("paris_p2p", "peers", "bench", "bootstrap", "simulator")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    own = [file for file in files if '"-m"' in file.read_text()]
    assert own == [ROOT / "paris_p2p" / "child.py"]
