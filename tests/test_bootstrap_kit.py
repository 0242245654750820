"""What a bootstrap's operator is given works: the unit's command, the settings, the packages."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from paris_p2p import config
from paris_p2p.cli import app
from paris_p2p.home import Home

ROOT = Path(__file__).parent.parent
KIT = ROOT / "bootstrap"
UNIT = KIT / "paris-bootstrap.service"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNIT)
    return parser


def check_options(arguments: list[str]) -> None:
    command = typer.main.get_command(app).commands["start"]  # type: ignore[attr-defined]
    command.make_context("start", ["--bootstrap-only", *arguments])


def test_the_units_command_exists_and_its_options_parse() -> None:
    program, *arguments = shlex.split(unit()["Service"]["ExecStart"])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert Path(program).name in scripts
    check_options(arguments)


def test_the_unit_gives_its_state_folder_as_home_and_can_write_there() -> None:
    service = unit()["Service"]
    arguments = shlex.split(service["ExecStart"])
    home = Path(arguments[arguments.index("--home") + 1])
    assert home == Path("/var/lib") / service["StateDirectory"]


def test_the_containers_command_parses() -> None:
    text = (KIT / "Containerfile").read_text()
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    program, *arguments = ast.literal_eval(entry)
    assert program == "paris-bootstrap"
    check_options(arguments)


@pytest.mark.parametrize("uncommented", [False, True])
def test_the_example_settings_load(tmp_path: Path, uncommented: bool) -> None:
    text = (KIT / "bootstrap.toml").read_text()
    if uncommented:
        text = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "config.toml").write_text(text)
    chosen = config.load(Home(tmp_path), {}, environment={})
    assert chosen.port == 31337
    assert bool(chosen.announce) == uncommented


def names(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line and not line.startswith("#"):
            yield re.split(r"[<>=\[ ]", line)[0].lower()


def test_the_light_packages_have_no_torch_and_no_looser_bounds_than_the_project() -> None:
    light = (KIT / "requirements.txt").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert not set(names(light)) & {"torch", "torchvision", "diffusers", "open_clip_torch"}
    shared = set(names(light)) & set(names(project))
    assert {line for line in project if next(names([line])) in shared} <= set(light)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_the_unit_well_confined() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd cannot judge a file offline")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
