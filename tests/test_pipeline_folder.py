"""A run leaves the swarm as a folder, draws without this project, and comes back as a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from peers.local_swarm import LocalSwarm, SwarmProblem, local_swarm

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow, pytest.mark.process]

PROMPT, SEED = "blue heart, noto style", 3

DRAW = """
import sys

class Without:
    foreign = {"paris_p2p", "open_clip", "hivemind", "ftfy", "transformers", "timm"}

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        is_foreign = name.partition(".")[0] in self.foreign
        return None if is_foreign else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
assert not Without.foreign & sys.modules.keys()
pipeline(sys.argv[2], seed=int(sys.argv[3])).images[0].save(sys.argv[4])
"""


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[LocalSwarm]:
    with local_swarm(tmp_path) as made:
        yield made


def test_a_run_goes_out_draws_alone_and_comes_in(swarm: LocalSwarm, tmp_path: Path) -> None:
    swarm.start("ada", (), "--seed-shipped-run")
    folder = tmp_path / "folder"
    assert swarm.run("ada", "export", str(folder)).finish()[-1]["experts"] == list(range(8))
    expected = drawn(swarm, "ada", tmp_path / "ada.png")
    assert differ(expected, drawn_alone(folder, tmp_path)) <= 1
    swarm.stop("ada")

    come = swarm.run("bob", "import", str(folder), "--name", "again").finish()[-1]
    bob = swarm.start("bob", (), "--run", come["run"])
    swarm.start("eve", [swarm.address("bob")], "--run", come["run"])
    assert differ(expected, drawn(swarm, "eve", tmp_path / "eve.png")) == 0
    with pytest.raises(SwarmProblem, match="error: the run again was imported without data"):
        swarm.run("eve", "claim-expert").finish()
    assert bob.popen.poll() is None


def drawn(swarm: LocalSwarm, name: str, picture: Path) -> Path:
    """The picture that a peer draws."""
    options = ("--seed", str(SEED), "--scale", "1", "-o", str(picture))
    swarm.run(name, "fetch-and-sample", PROMPT, *options).finish()
    return picture


def drawn_alone(folder: Path, elsewhere: Path) -> Path:
    """The picture that diffusers draws of the folder where nothing of this project is."""
    picture = elsewhere / "alone.png"
    command = [sys.executable, "-I", "-c", DRAW, str(folder), PROMPT, str(SEED), str(picture)]
    modules = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(elsewhere / "modules")}
    done = subprocess.run(
        command, cwd="/", env=os.environ | modules, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return picture


def differ(one: Path, other: Path) -> int:
    """The most levels by which a pixel of two pictures differs."""
    with Image.open(one) as first, Image.open(other) as second:
        return int(np.abs(np.asarray(first, int) - np.asarray(second, int)).max())
