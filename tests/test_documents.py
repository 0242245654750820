"""What the documents say is true: commands exist as written, presets load, exit codes match."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from paris_p2p import config, errors
from paris_p2p.cli import app
from paris_p2p.home import Home

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "bootstrap/README.md")


def commands() -> Iterator[str]:
    """Every indented line of the pages that calls paris-peer."""
    for page in PAGES:
        for line in (ROOT / page).read_text().splitlines():
            if re.match(r"    paris-peer ", line):
                yield line.strip()


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_of_the_pages_parses(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments)


@pytest.mark.parametrize("preset", sorted((ROOT / "peers").glob("*.toml")), ids=lambda p: p.name)
def test_every_preset_is_a_valid_configuration(preset: Path, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.config_file.write_bytes(preset.read_bytes())
    config.load(home, {}, environment={})


def test_the_exit_codes_of_the_readme_are_those_of_the_errors() -> None:
    table = (ROOT / "README.md").read_text()
    told = {int(code) for code in re.findall(r"\| (\d+) \|", table)}
    assert told == {kind.exit_code for kind in errors.ParisError.__subclasses__()} - {130}


@pytest.mark.parametrize("page", [*PAGES, "ARCHITECTURE.md", "CHANGELOG.md"])
def test_every_page_is_finished_and_its_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    assert not re.findall(r"@[A-Z]{3,}@", text)
    links = re.findall(r"\]\(([^)#]+)\)", text)
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not ((ROOT / page).parent / link).exists()] == []


def test_everything_the_wheel_carries_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert [source for source in carried if not (ROOT / source).exists()] == []
